//! What `model` is given.

use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use rlhf_gguf::WrittenType;
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
    /// Writes a checkpoint, its tokenizer and its chat template as one GGUF file, for llama.cpp.
    #[command(
        after_help = "Example:\n  rlhf model export gpt2/ gpt2.gguf --type q8_0\n\nVectors and position \
        embeddings are stored in f32. A value head is left out: llama.cpp has none."
    )]
    Export {
        /// The checkpoint, a folder or a repository of the hub, owner/name[@revision].
        folder: PathBuf,
        /// The file to write.
        file: PathBuf,
        /// How matrices are stored: f32, f16, bf16 or q8_0.
        #[arg(long = "type", value_name = "TYPE", default_value = "f16", value_parser = written_type())]
        kind: WrittenType,
    },
    /// Makes a checkpoint of a GGUF file, with its tokenizer and its chat template.
    #[command(
        after_help = "Example:\n  rlhf model export gpt2/ gpt2.gguf\n  rlhf model import gpt2.gguf \
        imported/\n\nNumbers of F16 and BF16 keep their type; quantized ones are stored in f32. Q8_0, Q4_0, Q4_1, \
        Q5_0,\nQ5_1, Q4_K, Q5_K and Q6_K are read."
    )]
    Import {
        /// The file.
        file: PathBuf,
        /// The folder to write; must not exist or be empty.
        out: PathBuf,
    },
}

/// The types of a GGUF file by their names.
fn written_type() -> impl TypedValueParser<Value = WrittenType> {
    let named = |name: String| {
        let mut all = WrittenType::ALL.into_iter();
        all.find(|kind| kind.name() == name)
            .unwrap_or(WrittenType::F16)
    };
    PossibleValuesParser::new(WrittenType::ALL.map(WrittenType::name)).map(named)
}
