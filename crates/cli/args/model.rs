//! The arguments of `model`.

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
        /// Print the description as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Downloads a checkpoint from the hub and prints its folder.
    #[command(
        after_help = "Example:\n  rlhf model fetch openai-community/gpt2\n\nHF_ENDPOINT, HF_HOME, \
        HF_HUB_CACHE, HF_TOKEN, HF_TOKEN_PATH and HF_HUB_OFFLINE work as in Python's\nhuggingface_hub, \
        and the cache is shared with it."
    )]
    Fetch {
        /// The repository, owner/name[@revision]; a revision is a branch, a tag or a commit.
        repository: String,
        /// Print the folder and the commit as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Writes a LoRA adapter and its base as one checkpoint.
    #[command(after_help = "Example:\n  rlhf model merge runs/dpo-000/final merged/")]
    Merge {
        /// The adapter: a folder with adapter_config.json, or a repository of the hub.
        adapter: PathBuf,
        /// The folder to write.
        out: PathBuf,
    },
    /// Writes a checkpoint with random weights.
    #[command(
        after_help = "Examples:\n  rlhf model init config.json fresh/ --seed 3\n  rlhf model init --architecture \
        qwen3 --width 256 --layers 6 small/",
        allow_missing_positional = true
    )]
    Init {
        /// A config.json in Hugging Face format, or a folder with one, whose tokenizer is copied.
        #[arg(required_unless_present = "architecture")]
        config: Option<PathBuf>,
        /// The folder to write; it must not exist, or be empty.
        out: PathBuf,
        /// An architecture instead of a config.json, with the sizes below and without a tokenizer.
        #[arg(long, conflicts_with = "config", value_parser = architecture())]
        architecture: Option<String>,
        #[command(flatten)]
        sizes: SizeArgs,
        /// The seed of the weights.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Writes a checkpoint, its tokenizer and its chat template as one GGUF file, for llama.cpp.
    #[command(
        after_help = "Example:\n  rlhf model export fresh/ fresh.gguf --type f16\n\nVectors and position \
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
        after_help = "Example:\n  rlhf model export fresh/ fresh.gguf\n  rlhf model import fresh.gguf \
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

fn architecture() -> clap::builder::PossibleValuesParser {
    rlhf_lm::architectures().into()
}

/// The sizes of a network of an architecture.
#[derive(Debug, clap::Args)]
pub(crate) struct SizeArgs {
    /// Entries of the vocabulary.
    #[arg(long, default_value_t = 4096, requires = "architecture")]
    pub(crate) vocab: usize,
    /// The context, tokens.
    #[arg(long, default_value_t = 512, requires = "architecture")]
    pub(crate) context: usize,
    /// The width of the residual stream.
    #[arg(long, default_value_t = 128, requires = "architecture")]
    pub(crate) width: usize,
    /// The number of blocks.
    #[arg(long, default_value_t = 4, requires = "architecture")]
    pub(crate) layers: usize,
    /// The number of attention heads.
    #[arg(long, default_value_t = 4, requires = "architecture")]
    pub(crate) heads: usize,
    /// The number of key and value heads [default: as many as heads].
    #[arg(long, requires = "architecture")]
    pub(crate) kv_heads: Option<usize>,
    /// The width of the feed-forward layers [default: four times the width].
    #[arg(long, requires = "architecture")]
    pub(crate) inner: Option<usize>,
}
