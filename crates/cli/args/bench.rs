//! The arguments of `bench`.

use crate::names::{critics, dtypes, workloads};
use clap::Args;
use rlhf_bench::{Settings, Shape, Workload};
use rlhf_experiment::{Critic, DtypeName};
use std::convert::Infallible;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Measures the speed of sampling, scoring and training on this machine.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  rlhf bench --size small --workload train --json\n\nOperations are the \
    multiplications and additions of matrix products that the workload needs. The peak is the\nbetter \
    of two products, 1024³ and 2048 × 768 × 3072, measured before and after the workload."
)]
pub(crate) struct BenchArgs {
    /// Plot how tokens/s and memory grow with batch, length, vocabulary, model and threads, to this SVG
    /// file.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["workload", "size"])]
    pub(crate) growth: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) shape: ShapeArgs,
    /// The network: tiny, small or gpt2, with random weights, or a checkpoint folder.
    #[arg(long, default_value = "tiny")]
    pub(crate) size: String,
    /// What to time [default: all workloads, each in its own process].
    #[arg(long, value_parser = workloads())]
    pub(crate) workload: Option<Workload>,
    /// Where PPO's values come from.
    #[arg(long, value_parser = critics(), default_value = Critic::Head.name())]
    pub(crate) critic: Critic,
    /// Timed repetitions of each workload, after one that is not counted; 0 times only the first.
    #[arg(long, default_value_t = 3)]
    pub(crate) repeats: usize,
    /// The precision of matrix products, and of the peak.
    #[arg(long, value_parser = dtypes(), default_value = "f32")]
    pub(crate) dtype: DtypeName,
    /// The precision in which prior and reward models are stored.
    #[arg(long, value_parser = dtypes(), default_value = "f32")]
    pub(crate) frozen_dtype: DtypeName,
    /// Threads; 0 uses as many as there are cores.
    #[arg(long, default_value_t = 0)]
    pub(crate) threads: usize,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// An option of earlier versions; explains where the suites are now.
    #[arg(long = "suite", value_name = "SUITE", value_parser = suites_moved, hide = true)]
    _suite: Option<Infallible>,
}

/// Overrides of the workload's shape.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ShapeArgs {
    /// Sequences per batch, instead of the workload's number.
    #[arg(long)]
    pub(crate) batch: Option<NonZeroUsize>,
    /// Tokens of a prompt.
    #[arg(long)]
    pub(crate) prompt: Option<NonZeroUsize>,
    /// Tokens of a response.
    #[arg(long)]
    pub(crate) response: Option<NonZeroUsize>,
    /// Vocabulary size of a network with random weights.
    #[arg(long)]
    pub(crate) vocab: Option<NonZeroUsize>,
    /// Activation checkpointing, as train.activation_checkpointing: none or blocks.
    #[arg(long, alias = "recompute", value_parser = ["none", "blocks"])]
    pub(crate) activation_checkpointing: Option<String>,
}

/// Refuses `--suite` and names the program that runs the suites.
fn suites_moved(suite: &str) -> Result<Infallible, String> {
    Err(format!(
        "--suite moved to a separate program: in a checkout, run cargo run --release -p rlhf-acceptance -- {suite}"
    ))
}

impl BenchArgs {
    /// The settings of a measurement.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            size: self.size.clone(),
            shape: self.shape.shape(),
            critic: self.critic,
            repeats: self.repeats,
            dtype: self.dtype,
            frozen_dtype: self.frozen_dtype,
        }
    }
}

impl ShapeArgs {
    fn shape(&self) -> Shape {
        Shape {
            batch: self.batch,
            prompt: self.prompt,
            response: self.response,
            vocab: self.vocab,
            activation_checkpointing: self.activation_checkpointing.clone(),
        }
    }

    /// These options as command-line arguments, for a child process.
    pub(crate) fn to_arguments(&self) -> Vec<String> {
        let numbers = [
            ("--batch", self.batch),
            ("--prompt", self.prompt),
            ("--response", self.response),
            ("--vocab", self.vocab),
        ];
        let numbers = numbers.into_iter();
        let numbers = numbers.filter_map(|(flag, number)| Some((flag, number?.to_string())));
        let activation_checkpointing = self.activation_checkpointing.iter();
        numbers
            .chain(
                activation_checkpointing.map(|name| ("--activation-checkpointing", name.clone())),
            )
            .flat_map(|(flag, value)| [flag.to_string(), value])
            .collect()
    }
}
