//! What a suite is.

use anyhow::{Context, Result};
use rlhf_experiment::Session;
use rlhf_journal::{Estimate, Interval};
use serde::Serialize;
use serde_json::Value;
use std::fmt;
use std::path::Path;

/// Something that is claimed, and how it is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Suite {
    pub(crate) name: &'static str,
    /// What it measures, for the log.
    pub(crate) about: &'static str,
    pub(crate) run: fn(&Setting<'_>) -> Result<Outcome>,
}

/// What a suite is given.
#[derive(Clone, Copy)]
pub(crate) struct Setting<'a> {
    /// What runs are made with.
    pub(crate) session: &'a Session,
    /// How many seeds: 1, 2, …
    pub(crate) seeds: u32,
    /// The folder of real checkpoints and data, if there is one.
    pub(crate) data: Option<&'a Path>,
    /// An empty folder.
    pub(crate) scratch: &'a Path,
}

impl Setting<'_> {
    /// The folder of real checkpoints and data.
    pub(crate) fn data(&self) -> Result<&Path> {
        self.data
            .context("this suite needs real data: set RLHF_TEST_DATA to its folder")
    }
}

/// What a suite found.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Outcome {
    /// What was measured, in the suite's own words.
    pub(crate) rows: Vec<Value>,
    pub(crate) verdicts: Vec<Verdict>,
}

/// A requirement and what was reached.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) name: String,
    pub(crate) required: Required,
    /// With its 95 % interval.
    pub(crate) reached: Estimate,
}

/// A bound.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(dead_code)]
pub(crate) enum Required {
    AtLeast(f64),
    AtMost(f64),
}

impl Verdict {
    /// Whether the value reached keeps the bound; NaN never does.
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
        let word = if self.pass() { "reached" } else { "MISSED" };
        let required = match self.required {
            Required::AtLeast(bound) => format!("at least {bound}"),
            Required::AtMost(bound) => format!("at most {bound}"),
        };
        let name = &self.name;
        write!(f, "{word}  {name}: {value:.4}{interval}, {required}")
    }
}

/// A file of JSON that a run left.
pub(crate) fn json(path: &Path) -> Result<Value> {
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
