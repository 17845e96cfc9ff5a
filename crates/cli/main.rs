//! The `rlhf` command.

#![forbid(unsafe_code)]

mod args;
mod changes;
mod commands;
mod config;
mod dataset;
mod direct;
mod held_out;
mod help;
mod inputs;
mod interrupt;
mod layers;
mod lengths;
mod memory;
mod needs;
mod opened;
mod output;
mod plan;
mod prior_fit;
mod prior_pass;
mod prior_plan;
mod progress;
mod record;
mod resolve;
mod reward_model;
mod run;
mod steps;
mod tabular;
mod target;
mod wiring;

use clap::Parser;
use std::process::ExitCode;

/// Raised by a file that may not grow further; nobody looks at it.
#[cfg(unix)]
static FULL: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => output::exit_code(&error).into(),
    }
}

fn run() -> anyhow::Result<ExitCode> {
    // A file that may not grow further then is an error of its writer, not the end of the program.
    #[cfg(unix)]
    signal_hook::flag::register(signal_hook::consts::SIGXFSZ, &FULL)?;
    match args::Cli::try_parse() {
        Ok(cli) => commands::run(&cli).map(|()| ExitCode::SUCCESS),
        Err(help) if !help.use_stderr() => {
            output::printed(|| help.print()).map(|()| ExitCode::SUCCESS)
        }
        Err(usage) => {
            let _ = usage.print();
            Ok(2.into())
        }
    }
}
