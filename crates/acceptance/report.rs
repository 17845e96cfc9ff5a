//! Runs suites and reports their results.

use crate::suite::{Outcome, Suite, SuiteContext, Verdict};
use anyhow::{Context, Result};
use rlhf_bench::Machine;
use rlhf_experiment::Session;
use serde::Serialize;
use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

/// The report, as printed with `--json`.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    machine: Machine,
    seeds: u32,
    pub(crate) pass: bool,
    pub(crate) suites: Vec<SuiteReport>,
}

/// The result of one suite.
#[derive(Debug, Serialize)]
pub(crate) struct SuiteReport {
    suite: &'static str,
    seconds: f64,
    #[serde(flatten)]
    outcome: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

impl Report {
    /// Runs suites in turn with `seeds` seeds and the folder of data.
    pub(crate) fn run(suites: &[Suite], seeds: u32, data: Option<&Path>) -> Self {
        // The commit is read first, because the sources may change while the suites run.
        let machine = Machine::here();
        let session = Session::default();
        let run = |suite| run_suite(suite, &session, seeds, data);
        let suites: Vec<_> = suites.iter().map(run).collect();
        let passed =
            |suite: &SuiteReport| suite.error.is_none() && suite.verdicts().all(Verdict::pass);
        Self {
            machine,
            seeds,
            pass: suites.iter().all(passed),
            suites,
        }
    }

    /// The verdicts of all suites.
    pub(crate) fn verdicts(&self) -> impl Iterator<Item = &Verdict> {
        self.suites.iter().flat_map(SuiteReport::verdicts)
    }
}

impl SuiteReport {
    fn verdicts(&self) -> impl Iterator<Item = &Verdict> {
        self.outcome.iter().flat_map(|outcome| &outcome.verdicts)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for suite in &self.suites {
            writeln!(f, "{} ({:.0} s)", suite.suite, suite.seconds)?;
            if let Some(error) = &suite.error {
                writeln!(f, "  could not be run: {error}")?;
            }
            for verdict in suite.verdicts() {
                writeln!(f, "  {verdict}")?;
            }
        }
        Ok(())
    }
}

/// Runs one suite in a temporary folder. An error of one suite does not stop the others.
fn run_suite(suite: &Suite, session: &Session, seeds: u32, data: Option<&Path>) -> SuiteReport {
    log(format_args!("suite {}: {}", suite.name, suite.about));
    let since = Instant::now();
    let run = || -> Result<Outcome> {
        let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
        (suite.run)(&SuiteContext {
            session,
            seeds,
            data,
            scratch: scratch.path(),
        })
    };
    let (outcome, error) = match run() {
        Ok(outcome) => (Some(outcome), None),
        Err(error) => (None, Some(format!("{error:#}"))),
    };
    SuiteReport {
        suite: suite.name,
        seconds: since.elapsed().as_secs_f64(),
        outcome,
        error,
    }
}

/// Prints a line to stderr, and ignores errors of writing.
pub(crate) fn log(line: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}
