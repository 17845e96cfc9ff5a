//! What `model` is given.

use clap::Subcommand;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Describes a checkpoint from its headers: shape, parameters, memory.
    #[command(after_help = "Example:\n  rlhf model inspect gpt2/")]
    Inspect {
        /// The checkpoint, a folder or a repository of the hub, owner/name[@revision].
        folder: PathBuf,
        /// Print it as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Fetches a checkpoint from the hub and prints its folder.
    #[command(
        after_help = "Example:\n  rlhf model fetch openai-community/gpt2\n\nHF_ENDPOINT, HF_HOME, \
        HF_HUB_CACHE, HF_TOKEN, HF_TOKEN_PATH and HF_HUB_OFFLINE mean what they mean\nto Python's \
        huggingface_hub, and the cache is the same."
    )]
    Fetch {
        /// The repository, owner/name[@revision]; a revision is a branch, a tag or a commit.
        repository: String,
        /// Print the folder and the commit as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Writes a checkpoint of random weights.
    #[command(after_help = "Example:\n  rlhf model init config.json fresh/ --seed 3")]
    Init {
        /// A config.json of GPT-2 in Hugging Face layout.
        config: PathBuf,
        /// The folder to write; must not exist or be empty.
        out: PathBuf,
        /// The seed of the weights.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}
