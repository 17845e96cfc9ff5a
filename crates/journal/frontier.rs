//! Points of the reward–KL plane: what an evaluation appends to a run folder.

use serde::{Deserialize, Serialize};

/// The fewest distinct prompts from which anything is said about others.
pub const LEAST_PROMPTS: usize = 5;

/// A number with an interval around it, where there is enough to make one of. In JSON `low` and
/// `high` stand beside `value`, or are not there.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The estimate.
    pub value: f64,
    /// Its 95 % interval.
    #[serde(flatten)]
    pub interval: Option<Interval>,
}

/// An interval: its true value lies within in 95 of 100 such measurements.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Estimate {
    /// A number within an interval.
    #[must_use]
    pub fn within(value: f64, low: f64, high: f64) -> Self {
        Self {
            value,
            interval: Some(Interval { low, high }),
        }
    }

    /// The same with no end below 0, for what is never negative.
    #[must_use]
    pub fn not_below_zero(self) -> Self {
        let above = |Interval { low, high }| Interval {
            low: f64::max(low, 0.0),
            high,
        };
        Self {
            value: self.value,
            interval: self.interval.map(above),
        }
    }

    /// The same in other units, by a function that rises.
    #[must_use]
    pub fn map(self, to: impl Fn(f64) -> f64) -> Self {
        Self {
            value: to(self.value),
            interval: self.interval.map(|Interval { low, high }| Interval {
                low: to(low),
                high: to(high),
            }),
        }
    }
}

/// What the intervals of a point are about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Intervals {
    /// All prompts like those it was measured on.
    #[default]
    AllPrompts,
    /// The one prompt it was measured on, and no other.
    ThisPromptOnly,
    /// Nothing: so few prompts say too little about others, and there is no interval.
    TooFewPrompts,
}

/// What a point stands for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Point {
    /// A trained policy after so many steps.
    Checkpoint {
        /// Steps done.
        step: usize,
    },
    /// The best that any policy does at this price, estimated from samples of the prior.
    Optimal {
        /// β, units of the reward per nat.
        beta: f64,
    },
    /// The best of n samples of the prior.
    BestOfN {
        /// n.
        n: usize,
    },
}

/// One point: what it is, and where.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FrontierPoint {
    /// The run, or the name of the curve.
    pub label: String,
    /// What it stands for.
    #[serde(flatten)]
    pub point: Point,
    /// KL to the prior, nats per sequence.
    pub kl: Estimate,
    /// The expected reward.
    pub reward: Estimate,
    /// The mean of log(π/p₀) on the same samples, where there are any: a check of `kl`.
    pub kl_k1: Option<f64>,
    /// The standard error of `kl` less `kl_k1`: they measure one thing, so more than four of these
    /// between them is a fault.
    pub kl_k1_error: Option<f64>,
    /// What the intervals of `kl` and `reward` are about.
    #[serde(default)]
    pub intervals: Intervals,
    /// Distinct prompts it was measured on.
    pub prompts: usize,
    /// The distinct prompts that `reward` rests on, where the reward had no opinion of any response to
    /// the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reward_prompts: Option<usize>,
    /// The rows of data that those prompts were given in, repeated ones and all; not in files of
    /// versions that did not tell them apart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<usize>,
    /// Responses it was measured on.
    pub samples: usize,
    /// Responses that the reward had no opinion of. Their KL counts, their reward does not.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub no_opinion: usize,
}

// The form that serde asks for.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of a file written when every estimate had an interval and prompts were rows.
    const OLD: &str = r#"{"label":"run","kind":"checkpoint","step":3,
        "kl":{"value":0.5,"low":0.4,"high":0.7},"reward":{"value":1.0,"low":1.0,"high":1.0},
        "kl_k1":null,"kl_k1_error":null,"prompts":8,"samples":32}"#;

    #[test]
    fn files_of_older_versions_are_read() {
        let point: FrontierPoint = serde_json::from_str(OLD).unwrap();
        assert_eq!(point.kl, Estimate::within(0.5, 0.4, 0.7));
        assert_eq!(point.intervals, Intervals::AllPrompts);
        assert_eq!((point.prompts, point.rows, point.samples), (8, None, 32));
    }

    #[test]
    fn no_interval_is_no_number() {
        let mut point: FrontierPoint = serde_json::from_str(OLD).unwrap();
        point.kl.interval = None;
        point.intervals = Intervals::TooFewPrompts;
        point.rows = Some(9);
        let text = serde_json::to_string(&point).unwrap();
        assert!(
            text.contains(r#""kl":{"value":0.5},"reward":{"value":1.0,"low""#),
            "{text}"
        );
        assert!(
            text.contains(r#""intervals":"too-few-prompts","prompts":8,"rows":9"#),
            "{text}"
        );
        assert_eq!(serde_json::from_str::<FrontierPoint>(&text).unwrap(), point);
    }
}
