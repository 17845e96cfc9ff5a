//! The `rlhf` command.

mod args;
mod commands;
mod config;
mod layers;
mod output;
mod plan;
mod prior_plan;
mod progress;
mod reward_model;
mod run;
mod tabular;
mod target;
mod wiring;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    match commands::run(&args::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output::exit_code(&error).into(),
    }
}
