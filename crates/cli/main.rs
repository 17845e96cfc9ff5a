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
        Ok(cli) => {
            let level = cli.loudness.level();
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

/// What the commands share: what is built in, the hub as environment variables say, and bars on stderr where
/// more than warnings is shown.
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
