//! Points of the reward–KL frontier: what an evaluation appends to a run folder.

use serde::{Deserialize, Serialize};

/// The minimum number of distinct prompts for an interval over prompts.
pub const LEAST_PROMPTS: usize = 5;

/// An estimate with its confidence interval, if there is one. In JSON `low` and `high` are fields
/// next to `value`, or absent.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The estimate.
    pub value: f64,
    /// Its 95 % confidence interval.
    #[serde(flatten)]
    pub interval: Option<Interval>,
}

/// A 95 % confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Estimate {
    /// An estimate with its interval.
    #[must_use]
    pub fn within(value: f64, low: f64, high: f64) -> Self {
        Self {
            value,
            interval: Some(Interval { low, high }),
        }
    }

    /// Clips the interval at 0, for quantities that are never negative.
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

    /// Applies an increasing function, such as a change of units.
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

/// The population that the intervals of a point are about.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Intervals {
    /// All prompts like those in the evaluation.
    #[default]
    AllPrompts,
    /// Only the one prompt in the evaluation.
    ThisPromptOnly,
    /// There is no interval: too few prompts.
    TooFewPrompts,
}

/// What a point represents.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Point {
    /// A trained policy after this many steps.
    Checkpoint {
        /// Steps done.
        step: usize,
    },
    /// The optimal policy at this β, estimated from samples of the prior.
    Optimal {
        /// β, in units of the reward per nat.
        beta: f64,
    },
    /// The best of n samples of the prior.
    BestOfN {
        /// n.
        n: usize,
    },
}

/// A point of the frontier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FrontierPoint {
    /// The name of the run or the curve.
    pub label: String,
    /// What the point represents.
    #[serde(flatten)]
    pub point: Point,
    /// KL to the prior, in nats per sequence.
    pub kl: Estimate,
    /// The expected reward.
    pub reward: Estimate,
    /// The mean of log(π/p₀) on the same samples, if there are any: a check of `kl`.
    pub kl_k1: Option<f64>,
    /// The standard error of `kl` − `kl_k1`. Both estimate the same quantity, so a difference of
    /// more than four standard errors is a bug.
    pub kl_k1_error: Option<f64>,
    /// The population that the intervals of `kl` and `reward` are about.
    #[serde(default)]
    pub intervals: Intervals,
    /// The number of distinct prompts in the evaluation.
    pub prompts: usize,
    /// The number of distinct prompts that `reward` is averaged over, if the reward scored no
    /// response to the others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reward_prompts: Option<usize>,
    /// The number of data rows with those prompts, including repeated ones; absent in files of
    /// versions that did not distinguish rows from prompts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<usize>,
    /// The number of responses in the evaluation.
    pub samples: usize,
    /// The number of responses that the reward did not score. They count for the KL but not for the
    /// reward.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub no_opinion: usize,
}

// The signature that serde requires.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of an older file, in which every estimate had an interval and prompts were rows.
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
    fn a_missing_interval_is_omitted_in_json() {
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
