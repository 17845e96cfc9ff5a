//! Points of the reward–KL plane: what an evaluation appends to a run folder.

use serde::{Deserialize, Serialize};

/// A number with an interval around it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The estimate.
    pub value: f64,
    /// The lower end of its 95 % interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
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
    /// Prompts it was measured on.
    pub prompts: usize,
    /// Responses it was measured on.
    pub samples: usize,
}
