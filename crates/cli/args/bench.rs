//! What `bench` is given.

use crate::names::dtypes;
use clap::Args;
use rlhf_experiment::DtypeName;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Measures how fast this program is on this machine.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  rlhf bench --size small --workload train --json\n\nOperations are counted: one for each \
    multiplication and each addition of a matrix product that the\nworkload needs. The peak is the better \
    of two products, 1024³ and 2048 × 768 × 3072, measured before and after."
)]
pub(crate) struct BenchArgs {
    /// Draw how tokens/s and memory grow with batch, length, vocabulary, model and threads, into this
    /// SVG file.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["workload", "size"])]
    pub(crate) growth: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) shape: ShapeArgs,
    /// The network: tiny, small or gpt2, with random weights, or a checkpoint folder.
    #[arg(long, default_value = "tiny")]
    pub(crate) size: String,
    /// What to time [default: everything, each in a process of its own].
    #[arg(long, value_enum)]
    pub(crate) workload: Option<Workload>,
    /// Where PPO has its values from.
    #[arg(long, value_enum, default_value_t = CriticName::Head)]
    pub(crate) critic: CriticName,
    /// How often each workload is timed, after a first time that does not count; 0 counts the first.
    #[arg(long, default_value_t = 3)]
    pub(crate) repeats: usize,
    /// What products are computed in, and the peak they are compared with.
    #[arg(long, value_parser = dtypes(), default_value = "f32")]
    pub(crate) dtype: DtypeName,
    /// What prior and reward models are held in.
    #[arg(long, value_parser = dtypes(), default_value = "f32")]
    pub(crate) frozen_dtype: DtypeName,
    /// Threads; 0 takes as many as there are cores.
    #[arg(long, default_value_t = 0)]
    pub(crate) threads: usize,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Another shape than the workload's own.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ShapeArgs {
    /// Sequences at a time, instead of the workload's number.
    #[arg(long)]
    pub(crate) batch: Option<NonZeroUsize>,
    /// Tokens of a prompt.
    #[arg(long)]
    pub(crate) prompt: Option<NonZeroUsize>,
    /// Tokens of a response.
    #[arg(long)]
    pub(crate) response: Option<NonZeroUsize>,
    /// Vocabulary of a network with random weights.
    #[arg(long)]
    pub(crate) vocab: Option<NonZeroUsize>,
    /// What training keeps for the backward pass, as train.recompute: none or blocks.
    #[arg(long, value_parser = ["none", "blocks"])]
    pub(crate) recompute: Option<String>,
}

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Workload {
    /// Sampling 16 responses of 64 tokens to prompts of 32.
    Generate,
    /// The log-probs of 16 such responses.
    Score,
    /// A step of supervised fine-tuning: 16 documents of 96 tokens, or 8 of 128 at GPT-2's size.
    Train,
    /// A step of direct preference optimization on 8 pairs, 32 + 64 tokens, the prior's share included.
    Dpo,
    /// An iteration of PPO: 16 responses, 4 epochs, a reward model of the same size.
    Ppo,
    /// An iteration of RLOO: 4 responses to each of 4 prompts, a reward model of the same size.
    Rloo,
}

impl ShapeArgs {
    /// The same on a command line.
    pub(crate) fn typed(&self) -> Vec<String> {
        let numbers = [
            ("--batch", self.batch),
            ("--prompt", self.prompt),
            ("--response", self.response),
            ("--vocab", self.vocab),
        ];
        let numbers = numbers.into_iter();
        let numbers = numbers.filter_map(|(flag, number)| Some((flag, number?.to_string())));
        let recompute = self.recompute.iter();
        numbers
            .chain(recompute.map(|name| ("--recompute", name.clone())))
            .flat_map(|(flag, value)| [flag.to_string(), value])
            .collect()
    }
}

impl Workload {
    pub(crate) const ALL: [Self; 6] = [
        Self::Generate,
        Self::Score,
        Self::Train,
        Self::Dpo,
        Self::Ppo,
        Self::Rloo,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Generate => "generate",
            Self::Score => "score",
            Self::Train => "train",
            Self::Dpo => "dpo",
            Self::Ppo => "ppo",
            Self::Rloo => "rloo",
        }
    }
}

/// Where values come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum CriticName {
    /// A head on the policy's hidden states.
    Head,
    /// A network of its own.
    Separate,
}

impl CriticName {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Separate => "separate",
        }
    }
}
