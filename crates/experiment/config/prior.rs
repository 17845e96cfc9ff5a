//! The prior as it stands in settings.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `[prior]`: p₀.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriorSection {
    /// Its kind.
    pub kind: PriorKind,
    /// Where its network is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<PathBuf>,
    /// The demonstrations that a copy of the model is fitted to, before the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// How it is fitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fit: Option<FitSection>,
    /// The weight of the uniform distribution mixed into each token of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub smoothing: Option<f64>,
    /// Of a mixture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<MeanName>,
    /// The weight of the second of a mixture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// The first of a mixture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Box<PriorSection>>,
    /// The second of a mixture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second: Option<Box<PriorSection>>,
    /// Where the fit to `data` is, once there is a run folder to hold it.
    #[serde(skip)]
    pub fitted: Option<PathBuf>,
}

/// `[prior.fit]`: supervised fine-tuning of a copy of the model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FitSection {
    /// The greatest learning rate.
    pub learning_rate: f64,
    /// Passes over the demonstrations.
    pub epochs: usize,
    /// How much text a step takes.
    pub per_step: rlhf_sft::PerStep,
}

impl PriorSection {
    /// Of a kind, and nothing else said.
    pub fn of(kind: PriorKind) -> Self {
        Self {
            kind,
            model: None,
            data: None,
            fit: None,
            smoothing: None,
            mean: None,
            weight: None,
            first: None,
            second: None,
            fitted: None,
        }
    }

    /// Every path in it with its key, which starts with `prefix`.
    pub(super) fn paths(&mut self, prefix: &str) -> Vec<(String, &mut PathBuf)> {
        let parts = [("first", &mut self.first), ("second", &mut self.second)];
        let own = [("model", &mut self.model), ("data", &mut self.data)];
        let mut all = Vec::new();
        for (name, path) in own {
            all.extend(
                path.iter_mut()
                    .map(|path| (format!("{prefix}.{name}"), path)),
            );
        }
        for (name, part) in parts {
            let inner = part.iter_mut();
            all.extend(inner.flat_map(|part| part.paths(&format!("{prefix}.{name}"))));
        }
        all
    }
}

/// The mean of a mixture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MeanName {
    /// Of the log-probs of each token, renormalized.
    Geometric,
    /// Of the probabilities of whole responses.
    Arithmetic,
}

/// The kind of prior.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PriorKind {
    /// Every response weighs 1.
    Counting,
    /// Every token is as likely as every other.
    Uniform,
    /// A frozen model.
    Reference,
    /// A frozen model of demonstrations.
    Demonstrations,
    /// Two priors, mixed.
    Mixture,
}
