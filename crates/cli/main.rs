//! The `rlhf` command.

#![forbid(unsafe_code)]

mod args;
mod commands;
mod help;
mod interrupt;
mod names;
mod output;
mod progress;
mod telemetry;

use clap::Parser;
use progress::Bars;
use rlhf_experiment::{Display, Interrupts, Locator, Quiet, Registry, Session};
use std::process::ExitCode;
use tracing::Level;

/// Set by SIGXFSZ, and not read.
#[cfg(unix)]
static FULL: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => output::exit_code(&error).into(),
    }
}

fn run() -> anyhow::Result<ExitCode> {
    // With SIGXFSZ handled, exceeding the file size limit is a write error and does not kill the program.
    #[cfg(unix)]
    signal_hook::flag::register(signal_hook::consts::SIGXFSZ, &FULL)?;
    match args::Cli::try_parse() {
        Ok(cli) => {
            let level = cli.verbosity.level();
            telemetry::listen(level);
            commands::run(&session(level), &cli).map(|()| ExitCode::SUCCESS)
        }
        Err(help) if !help.use_stderr() => {
            output::printed(|| help.print()).map(|()| ExitCode::SUCCESS)
        }
        Err(usage) => {
            let _ = usage.print();
            Ok(2.into())
        }
    }
}

/// The session of the program: the built-in registry, the hub configured by environment variables, and
/// progress bars on stderr unless `--quiet` is given.
#[expect(clippy::disallowed_methods, reason = "this is the command line")]
fn session(level: Level) -> Session {
    let display: Box<dyn Display> = if level < Level::INFO {
        Box::new(Quiet)
    } else {
        Box::new(Bars)
    };
    Session {
        registry: Registry::default(),
        locator: Locator::new(|name| std::env::var(name).ok()),
        interrupts: Interrupts::new(),
        display,
    }
}
