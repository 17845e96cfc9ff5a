//! What `bench` is given.

use crate::names::{critics, dtypes, workloads};
use clap::Args;
use rlhf_bench::{Settings, Shape, Workload};
use rlhf_experiment::{Critic, DtypeName};
use std::convert::Infallible;
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
    #[arg(long, value_parser = workloads())]
    pub(crate) workload: Option<Workload>,
    /// Where PPO has its values from.
    #[arg(long, value_parser = critics(), default_value = Critic::Head.name())]
    pub(crate) critic: Critic,
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
    /// What moved to a program of its own.
    #[arg(long = "suite", value_name = "SUITE", value_parser = moved, hide = true)]
    _suite: Option<Infallible>,
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
    /// What training keeps for the backward pass, as train.activation_checkpointing: none or blocks.
    #[arg(long, alias = "recompute", value_parser = ["none", "blocks"])]
    pub(crate) activation_checkpointing: Option<String>,
}

/// Says where suites are now.
fn moved(suite: &str) -> Result<Infallible, String> {
    Err(format!(
        "the suites are a program of their own, for a checkout: cargo run --release -p rlhf-acceptance -- {suite}"
    ))
}

impl BenchArgs {
    /// How each workload is measured.
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
        let activation_checkpointing = self.activation_checkpointing.iter();
        numbers
            .chain(
                activation_checkpointing.map(|name| ("--activation-checkpointing", name.clone())),
            )
            .flat_map(|(flag, value)| [flag.to_string(), value])
            .collect()
    }
}
