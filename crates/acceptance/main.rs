//! `rlhf bench`: what is claimed of this program, measured here and now.
//!
//! Without a suite it is [`speed`]: seconds, tokens a second and the share of the machine's peak. A
//! [`suite`] trains and evaluates through the ordinary commands and says which requirements were
//! reached. Each suite is a file beside this one and a line in [`suite::SUITES`].

mod bag_of_words;
mod demo;
mod growth;
mod harmless;
mod machine;
mod movies;
mod network_world;
mod operations;
mod optimum;
mod polite;
mod ragged;
mod rewards;
mod size;
mod speed;
mod suite;
mod timed;
mod trees;
mod workloads;

use crate::args::BenchArgs;
use crate::output::{Usage, log, print};
use anyhow::{Context, Result, anyhow, bail};
use machine::Machine;
use serde::Serialize;
use std::time::Instant;
use suite::{Outcome, SUITES, Setting, Suite, Verdict};

/// The name that stands for every suite.
const ALL: &str = "acceptance";

pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    let chosen = args.suite.as_deref().map(choose).transpose();
    let chosen = chosen.map_err(Usage)?;
    let threads = rayon::ThreadPoolBuilder::new().num_threads(args.threads);
    threads.build_global().context("cannot start the threads")?;
    match (chosen, &args.growth) {
        (Some(suites), _) => judge(&suites, args),
        (None, Some(picture)) => growth::run(args, picture),
        (None, None) => speed::run(args),
    }
}

fn judge(chosen: &[&Suite], args: &BenchArgs) -> Result<()> {
    // Before anything runs: the sources may have moved on when the suites are done.
    let machine = Machine::here();
    let reports: Vec<_> = chosen.iter().map(|suite| measure(suite, args)).collect();
    let verdicts = || reports.iter().flat_map(|report| report.verdicts());
    let (missed, failed) = (
        verdicts().filter(|verdict| !verdict.pass()).count(),
        reports
            .iter()
            .filter(|report| report.error.is_some())
            .count(),
    );
    let requirements = verdicts().count();
    let report = Report {
        machine,
        seeds: args.seeds,
        pass: missed + failed == 0,
        suites: reports,
    };
    if args.json {
        print(serde_json::to_string_pretty(&report)?)?;
    } else {
        show(&report)?;
    }
    if failed > 0 {
        bail!("{failed} of {} suites could not be run", chosen.len());
    }
    if missed > 0 {
        bail!("{missed} of {requirements} requirements were not reached");
    }
    Ok(())
}

fn choose(name: &str) -> Result<Vec<&'static Suite>> {
    let chosen: Vec<_> = SUITES
        .iter()
        .filter(|suite| name == ALL || name == suite.name)
        .collect();
    if chosen.is_empty() {
        let names: Vec<_> = SUITES.iter().map(|suite| suite.name).collect();
        let message = anyhow!(
            "no suite is called {name}: there is {ALL}, and {}",
            names.join(", ")
        );
        return Err(message);
    }
    Ok(chosen)
}

/// Runs one suite in a folder of its own, which goes when it is done. A suite that fails does not
/// keep the others from running.
fn measure(suite: &Suite, args: &BenchArgs) -> Measured {
    log(format_args!("suite {}: {}", suite.name, suite.about));
    let since = Instant::now();
    let run = || -> Result<Outcome> {
        let scratch = tempfile::tempdir().context("cannot make a temporary folder")?;
        (suite.run)(&Setting {
            seeds: args.seeds,
            data: args.real_data.as_deref(),
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

/// What is printed with `--json`.
#[derive(Debug, Serialize)]
struct Report {
    #[serde(flatten)]
    machine: Machine,
    seeds: u32,
    pass: bool,
    suites: Vec<Measured>,
}

/// One suite's part of it.
#[derive(Debug, Serialize)]
struct Measured {
    suite: &'static str,
    seconds: f64,
    #[serde(flatten)]
    outcome: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Measured {
    fn verdicts(&self) -> impl Iterator<Item = &Verdict> {
        self.outcome.iter().flat_map(|outcome| &outcome.verdicts)
    }
}

fn show(report: &Report) -> Result<()> {
    for measured in &report.suites {
        print(format_args!(
            "{} ({:.0} s)",
            measured.suite, measured.seconds
        ))?;
        if let Some(error) = &measured.error {
            print(format_args!("  could not be run: {error}"))?;
        }
        for verdict in measured.verdicts() {
            print(format_args!("  {verdict}"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_are_found_by_name() {
        assert_eq!(choose(ALL).unwrap().len(), SUITES.len());
        for suite in &SUITES {
            assert_eq!(choose(suite.name).unwrap().len(), 1, "{}", suite.name);
            assert_ne!(suite.name, ALL);
        }
        assert!(
            choose("speling")
                .unwrap_err()
                .to_string()
                .contains("rewards")
        );
    }
}
