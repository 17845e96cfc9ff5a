//! The `beta` setting: fixed or adaptive.

use rlhf_objective::{Adaptive, Beta, Target};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// β: a fixed number, or an adaptive β with a target.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub enum BetaSetting {
    /// A fixed β.
    Fixed(f64),
    /// A β that is adjusted to hold the KL or the entropy at a target.
    Adaptive(AdaptiveBeta),
}

impl<'de> Deserialize<'de> for BetaSetting {
    /// Written by hand because serde's error of an untagged enum does not name the wrong key.
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        match toml::Value::deserialize(from)? {
            toml::Value::Float(beta) => Ok(Self::Fixed(beta)),
            toml::Value::Integer(beta) => Ok(Self::Fixed(beta as f64)),
            toml::Value::Table(table) => match table.try_into() {
                Ok(adaptive) => Ok(Self::Adaptive(adaptive)),
                Err(error) => Err(D::Error::custom(error.to_string().trim_end())),
            },
            _ => Err(D::Error::custom(
                "expected a number, or { start, target_kl or target_entropy, horizon, min, max }",
            )),
        }
    }
}

/// An adaptive β. Exactly one of the targets is given.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdaptiveBeta {
    /// Its first value.
    pub start: f64,
    /// The KL to hold, in nats per sequence. For a prior that is a distribution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_kl: Option<f64>,
    /// The entropy to hold, in nats per sequence. For the counting prior.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_entropy: Option<f64>,
    /// The number of episodes over which an error is corrected fully.
    pub horizon: f64,
    /// Its least value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Its greatest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
}

impl AdaptiveBeta {
    /// The target. `check` has verified that there is exactly one.
    pub fn target(&self) -> Target {
        match (self.target_kl, self.target_entropy) {
            (_, Some(entropy)) => Target::Entropy(entropy),
            (kl, None) => Target::Kl(kl.unwrap_or_default()),
        }
    }

    /// The controller of β, with the bounds that were given.
    pub fn adaptive(&self) -> Adaptive {
        let default = Adaptive::new(self.start, self.target(), self.horizon);
        Adaptive {
            lowest: self.min.unwrap_or(default.lowest),
            greatest: self.max.unwrap_or(default.greatest),
            ..default
        }
    }
}

impl BetaSetting {
    /// β as [`KlPenalty`](rlhf_objective::KlPenalty) takes it.
    pub fn beta(self) -> Beta {
        match self {
            Self::Fixed(beta) => Beta::Fixed(beta),
            Self::Adaptive(setting) => Beta::Adaptive(setting.adaptive()),
        }
    }
}
