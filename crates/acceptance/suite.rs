//! What a suite is, and the list of them.

use super::{demo, optimum, ragged, rewards, trees};
use crate::commands::train;
use crate::layers::Layers;
use anyhow::{Context, Result};
use rlhf_journal::{Estimate, Interval};
use serde::Serialize;
use serde_json::Value;
use std::fmt;
use std::path::Path;

/// All suites, in the order in which they run.
pub(super) const SUITES: [Suite; 6] = [
    demo::SUITE,
    trees::SUITE,
    optimum::SUITE,
    rewards::SUITE,
    rewards::HARMLESS,
    ragged::SUITE,
];

/// Something that is claimed, and how it is measured.
#[derive(Debug)]
pub(super) struct Suite {
    pub(super) name: &'static str,
    /// What it measures, for the log.
    pub(super) about: &'static str,
    pub(super) run: fn(&Setting<'_>) -> Result<Outcome>,
}

/// What a suite is given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting<'a> {
    /// How many seeds: 1, 2, …
    pub(super) seeds: u32,
    /// The folder of real checkpoints and data, if there is one.
    pub(super) data: Option<&'a Path>,
    /// An empty folder.
    pub(super) scratch: &'a Path,
}

impl Setting<'_> {
    /// The folder of real checkpoints and data.
    pub(super) fn data(&self) -> Result<&Path> {
        self.data
            .context("this suite needs real data: set RLHF_TEST_DATA to its folder")
    }
}

/// What a suite found.
#[derive(Debug, Default, Serialize)]
pub(super) struct Outcome {
    /// What was measured, in the suite's own words.
    pub(super) rows: Vec<Value>,
    pub(super) verdicts: Vec<Verdict>,
}

/// A requirement and what was reached.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) name: String,
    pub(super) required: Required,
    /// With its 95 % interval.
    pub(super) reached: Estimate,
}

/// A bound.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(dead_code)]
pub(super) enum Required {
    AtLeast(f64),
    AtMost(f64),
}

impl Verdict {
    /// Whether the value reached keeps the bound; NaN never does.
    pub(super) fn pass(&self) -> bool {
        match self.required {
            Required::AtLeast(bound) => self.reached.value >= bound,
            Required::AtMost(bound) => self.reached.value <= bound,
        }
    }
}

impl Serialize for Verdict {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Line<'a> {
            name: &'a str,
            required: Required,
            reached: f64,
            interval: Option<[f64; 2]>,
            pass: bool,
        }
        let Estimate { value, interval } = self.reached;
        let line = Line {
            name: &self.name,
            required: self.required,
            reached: value,
            interval: interval.map(|Interval { low, high }| [low, high]),
            pass: self.pass(),
        };
        line.serialize(to)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Estimate { value, interval } = self.reached;
        let interval = interval.map(|Interval { low, high }| format!(" [{low:.4}, {high:.4}]"));
        let interval = interval.unwrap_or_default();
        let word = if self.pass() { "reached" } else { "MISSED" };
        let required = match self.required {
            Required::AtLeast(bound) => format!("at least {bound}"),
            Required::AtMost(bound) => format!("at most {bound}"),
        };
        let name = &self.name;
        write!(f, "{word}  {name}: {value:.4}{interval}, {required}")
    }
}

/// One run of `rlhf train` with these settings, as in `--set`, in `folder`.
pub(super) fn train(folder: &Path, settings: &[String]) -> Result<()> {
    let mut layers = Layers::new(None)?;
    for setting in settings {
        layers.set(setting)?;
    }
    train::fit(&layers.resolve()?, folder)
}

/// A file of JSON that a run left.
pub(super) fn json(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_what_the_numbers_say() {
        let verdict = |required, value| Verdict {
            name: "accuracy".into(),
            required,
            reached: Estimate::within(value, value - 0.1, value + 0.1),
        };
        let passes = |required, value| verdict(required, value).pass();
        assert!(passes(Required::AtLeast(0.75), 0.75) && !passes(Required::AtLeast(0.75), 0.7));
        assert!(passes(Required::AtMost(0.75), 0.75) && !passes(Required::AtMost(0.75), 0.8));
        assert!(!passes(Required::AtMost(1.0), f64::NAN));
        let json = serde_json::to_value(verdict(Required::AtLeast(0.5), 0.25)).unwrap();
        assert_eq!(json["required"]["at_least"], 0.5);
        assert_eq!(json["interval"], serde_json::json!([0.15, 0.35]));
        assert_eq!(json["pass"], false);
    }
}
