//! The types of suites: what they are given and what they report.

use anyhow::{Context, Result};
use rlhf_experiment::Session;
use rlhf_journal::{Estimate, Interval};
use serde::Serialize;
use serde_json::Value;
use std::fmt;
use std::path::Path;

/// A suite: measures a claim.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Suite {
    pub(crate) name: &'static str,
    /// What it measures, in one line of the help.
    pub(crate) about: &'static str,
    pub(crate) run: fn(&SuiteContext<'_>) -> Result<Outcome>,
}

/// The inputs of a suite.
#[derive(Clone, Copy)]
pub(crate) struct SuiteContext<'a> {
    /// The session that runs are started from.
    pub(crate) session: &'a Session,
    /// The number of seeds: 1, 2, …
    pub(crate) seeds: u32,
    /// The folder of checkpoints and data, if given.
    pub(crate) data: Option<&'a Path>,
    /// An empty temporary folder.
    pub(crate) scratch: &'a Path,
}

impl SuiteContext<'_> {
    /// The folder of checkpoints and data.
    pub(crate) fn data(&self) -> Result<&Path> {
        self.data
            .context("this suite needs checkpoints and data: set RLHF_TEST_DATA to their folder")
    }
}

/// The result of a suite.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Outcome {
    /// The measurements; their fields depend on the suite.
    pub(crate) rows: Vec<Value>,
    pub(crate) verdicts: Vec<Verdict>,
}

/// A requirement and the value measured for it.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) name: String,
    pub(crate) required: Required,
    /// The measured value with its 95 % interval.
    pub(crate) reached: Estimate,
}

/// The bound of a requirement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(dead_code)]
pub(crate) enum Required {
    AtLeast(f64),
    AtMost(f64),
}

impl Verdict {
    /// Whether the measured value satisfies the bound; NaN does not.
    pub(crate) fn pass(&self) -> bool {
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
        let word = if self.pass() { "met" } else { "MISSED" };
        let required = match self.required {
            Required::AtLeast(bound) => format!("at least {bound}"),
            Required::AtMost(bound) => format!("at most {bound}"),
        };
        let name = &self.name;
        write!(f, "{word}  {name}: {value:.4}{interval}, {required}")
    }
}

/// Reads a JSON file of a run.
pub(crate) fn read_json(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts_compare_the_value_with_the_bound() {
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
