//! The commands of the program.

mod bench;
mod data;
mod eval;
mod exact;
mod generate;
mod model;
mod oracle;
mod score;
mod train;

use crate::args::{Cli, Command, DataCommand};
use anyhow::Result;
use rlhf_experiment::Session;

/// Runs a command.
pub(crate) fn run(session: &Session, cli: &Cli) -> Result<()> {
    match &cli.command {
        Command::Train(args) => train::run(session, args),
        Command::Eval(args) => eval::run(session, args),
        Command::Generate(args) => generate::run(session, args),
        Command::Score(args) => score::run(session, args),
        Command::Oracle(args) => oracle::run(args),
        Command::Model(command) => model::run(session, command),
        Command::Bench(args) => bench::run(args),
        Command::Data(DataCommand::Check(args)) => data::check(session, args),
    }
}
