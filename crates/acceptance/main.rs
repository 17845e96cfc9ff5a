//! `rlhf-acceptance`: runs the acceptance suites, which measure the claims made about `rlhf`.
//!
//! A suite trains and evaluates through [`rlhf_experiment`], as the program does, and reports which
//! requirements were met. Each suite is a file in this folder and a line in [`suites::SUITES`].

#![forbid(unsafe_code)]

mod bag_of_words;
mod demo;
mod harmless;
mod movies;
mod network_world;
mod optimum;
mod polite;
mod ragged;
mod report;
mod rewards;
mod suite;
mod suites;
mod task;
mod tree_cells;
#[cfg(test)]
mod tree_cells_tests;
mod trees;

use anyhow::{Result, bail};
use clap::Parser;
use clap::builder::{PossibleValue, PossibleValuesParser};
use report::{Report, log};
use rlhf_bench::start_threads;
use rlhf_experiment::one_line;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use suite::Suite;
use suites::SUITES;

/// The name that selects every suite, and its alias.
const ALL: [&str; 2] = ["acceptance", "all"];

/// Runs acceptance suites of `rlhf` and reports which requirements were met.
#[derive(Debug, Parser)]
#[command(
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    after_help = "Example:\n  RLHF_TEST_DATA=data cargo run --release -p rlhf-acceptance -- rewards --seeds 1\n\n\
    Exit codes: 0 all requirements were met, 1 one was not or a suite failed to run, 2 bad usage."
)]
struct Args {
    /// The suite to run.
    #[arg(value_parser = suite_names())]
    suite: String,
    /// The number of seeds of suites that train.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    seeds: u32,
    /// The folder of checkpoints and data that some suites need.
    #[arg(
        long,
        value_name = "DIR",
        env = "RLHF_TEST_DATA",
        hide_env_values = true
    )]
    real_data: Option<PathBuf>,
    /// The number of threads; 0 uses all cores.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Print the result as JSON, with all measurements.
    #[arg(long)]
    json: bool,
}

fn suite_names() -> PossibleValuesParser {
    let all = PossibleValue::new(ALL[0]).alias(ALL[1]);
    let all = all.help("run every suite in turn");
    let possible_value = |suite: &Suite| PossibleValue::new(suite.name).help(suite.about);
    PossibleValuesParser::new(std::iter::once(all).chain(SUITES.iter().map(possible_value)))
}

fn select_suites(name: &str) -> Vec<Suite> {
    let mut suites = SUITES.to_vec();
    suites.retain(|suite| ALL.contains(&name) || suite.name == name);
    suites
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log(format_args!("error: {}", one_line(&error)));
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    start_threads(args.threads)?;
    let report = Report::run(
        &select_suites(&args.suite),
        args.seeds,
        args.real_data.as_deref(),
    );
    print(&if args.json {
        serde_json::to_string_pretty(&report)? + "\n"
    } else {
        report.to_string()
    })?;
    let suites = report.suites.len();
    let failed = report.suites.iter().filter(|suite| suite.error.is_some());
    let failed = failed.count();
    if failed > 0 {
        bail!("{failed} of {suites} suites could not be run");
    }
    let missed = report.verdicts().filter(|verdict| !verdict.pass()).count();
    if missed > 0 {
        bail!(
            "{missed} of {} requirements were not met",
            report.verdicts().count()
        );
    }
    Ok(())
}

/// Prints text to stdout. A broken pipe is not an error.
fn print(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_selected_by_name() {
        for all in ALL {
            assert_eq!(select_suites(all).len(), SUITES.len());
        }
        for suite in &SUITES {
            let found = select_suites(suite.name);
            assert_eq!(found.len(), 1, "{}", suite.name);
            assert_eq!(found[0].name, suite.name);
            assert!(!ALL.contains(&suite.name));
        }
    }
}
