//! What was typed.

mod bench;
mod data;
mod model;
mod number;
mod oracle;
mod responses;
mod train;

pub(crate) use bench::BenchArgs;
pub(crate) use data::{CheckArgs, DataCommand};
pub(crate) use model::{ModelCommand, SizeArgs};
pub(crate) use oracle::OracleArgs;
pub(crate) use responses::{EvalArgs, GenerateArgs, ScoreArgs};
pub(crate) use train::TrainArgs;

use clap::{Args, Parser, Subcommand};

/// Aligns small language models by KL-regularized policy optimization:
/// maximizes E[reward] − β·KL(policy ‖ prior).
#[derive(Debug, Parser)]
#[command(
    name = "rlhf",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    after_help = HELP
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) loudness: Loudness,
}

/// How much is said on stderr.
#[derive(Debug, Args)]
pub(crate) struct Loudness {
    /// Say less: warnings and errors alone.
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Say more: what is loaded and read, and how long it took.
    #[arg(short, long, global = true)]
    verbose: bool,
}

impl Loudness {
    /// The least important level that is shown.
    pub(crate) fn level(&self) -> tracing::Level {
        if self.quiet {
            tracing::Level::WARN
        } else if self.verbose {
            tracing::Level::DEBUG
        } else {
            tracing::Level::INFO
        }
    }
}

const HELP: &str = "Example: a first look, in less than a minute, with nothing to download
  rlhf train --out first
  rlhf generate --model first/final --prompt 'the film was' -n 3
  rlhf eval first

rlhf COMMAND --help says more, with an example. A model is a folder in Hugging Face layout.
Exit codes: 0 done, 1 failed, 2 bad usage or settings, 130 interrupted after saving.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Train(Box<TrainArgs>),
    Eval(EvalArgs),
    Generate(GenerateArgs),
    Score(ScoreArgs),
    Oracle(OracleArgs),
    /// Looks at a checkpoint, fetches one, or makes a random one.
    #[command(subcommand)]
    Model(ModelCommand),
    Bench(BenchArgs),
    /// Looks at a data set.
    #[command(subcommand)]
    Data(DataCommand),
}
