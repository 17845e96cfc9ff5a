//! Suites run, and what they found.

use crate::suite::{Outcome, Setting, Suite, Verdict};
use anyhow::{Context, Result};
use rlhf_bench::Machine;
use rlhf_experiment::Session;
use serde::Serialize;
use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::time::Instant;

/// What is printed with `--json`.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    #[serde(flatten)]
    machine: Machine,
    seeds: u32,
    pub(crate) pass: bool,
    pub(crate) suites: Vec<Measured>,
}

/// One suite's part of it.
#[derive(Debug, Serialize)]
pub(crate) struct Measured {
    suite: &'static str,
    seconds: f64,
    #[serde(flatten)]
    outcome: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

impl Report {
    /// Runs suites one after another, each with so many seeds, and with the folder of real data.
    pub(crate) fn of(chosen: &[Suite], seeds: u32, data: Option<&Path>) -> Self {
        // Before anything runs: the sources may have moved on when the suites are done.
        let machine = Machine::here();
        let session = Session::default();
        let measured = |suite| measure(suite, &session, seeds, data);
        let suites: Vec<_> = chosen.iter().map(measured).collect();
        let passed =
            |suite: &Measured| suite.error.is_none() && suite.verdicts().all(Verdict::pass);
        Self {
            machine,
            seeds,
            pass: suites.iter().all(passed),
            suites,
        }
    }

    /// All verdicts of all suites.
    pub(crate) fn verdicts(&self) -> impl Iterator<Item = &Verdict> {
        self.suites.iter().flat_map(Measured::verdicts)
    }
}

impl Measured {
    fn verdicts(&self) -> impl Iterator<Item = &Verdict> {
        self.outcome.iter().flat_map(|outcome| &outcome.verdicts)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for measured in &self.suites {
            writeln!(f, "{} ({:.0} s)", measured.suite, measured.seconds)?;
            if let Some(error) = &measured.error {
                writeln!(f, "  could not be run: {error}")?;
            }
            for verdict in measured.verdicts() {
                writeln!(f, "  {verdict}")?;
            }
        }
        Ok(())
    }
}

/// Runs one suite in a folder of its own, which goes when it is done. A suite that fails does not
/// keep the others from running.
fn measure(suite: &Suite, session: &Session, seeds: u32, data: Option<&Path>) -> Measured {
    log(format_args!("suite {}: {}", suite.name, suite.about));
    let since = Instant::now();
    let run = || -> Result<Outcome> {
        let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
        (suite.run)(&Setting {
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
    Measured {
        suite: suite.name,
        seconds: since.elapsed().as_secs_f64(),
        outcome,
        error,
    }
}

/// One line to stderr. Where that is closed or full there is nobody to tell.
pub(crate) fn log(line: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}
