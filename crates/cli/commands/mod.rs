//! The commands.

mod before_after;
mod bench;
mod data;
mod demo;
mod eval;
mod exact;
mod generate;
mod model;
mod oracle;
mod score;
pub(crate) mod train;

use crate::args::{Cli, Command, DataCommand};
use anyhow::Result;

/// Runs the command that was typed.
pub(crate) fn run(cli: &Cli) -> Result<()> {
    match &cli.command {
        Command::Train(args) => train::run(args),
        Command::Eval(args) => eval::run(args),
        Command::Generate(args) => generate::run(args),
        Command::Score(args) => score::run(args),
        Command::Oracle(args) => oracle::run(args),
        Command::Model(command) => model::run(command),
        Command::Bench(args) => bench::run(args),
        Command::Data(DataCommand::Check(args)) => data::check(args),
    }
}
