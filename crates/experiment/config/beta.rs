//! β as it stands in settings.

use rlhf_objective::{Adaptive, Beta, Target};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// β: a number, or a start and what to hold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub enum BetaSetting {
    /// A number.
    Fixed(f64),
    /// A start and a target.
    Adaptive(AdaptiveBeta),
}

impl<'de> Deserialize<'de> for BetaSetting {
    /// An error in a table names its key, which an untagged enum does not.
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

/// A β that moves; one of the targets is given.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdaptiveBeta {
    /// Where it starts.
    pub start: f64,
    /// Nats a sequence, where the prior is a distribution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_kl: Option<f64>,
    /// Nats a sequence, where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_entropy: Option<f64>,
    /// How many episodes a full correction takes.
    pub horizon: f64,
    /// Its bounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min: Option<f64>,
    /// Its greatest value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
}

impl AdaptiveBeta {
    /// What is held, once `check` has seen that there is one thing.
    pub fn target(&self) -> Target {
        match (self.target_kl, self.target_entropy) {
            (_, Some(entropy)) => Target::Entropy(entropy),
            (kl, None) => Target::Kl(kl.unwrap_or_default()),
        }
    }

    /// The β that moves, with the bounds that were given.
    pub fn adaptive(&self) -> Adaptive {
        let usual = Adaptive::new(self.start, self.target(), self.horizon);
        Adaptive {
            lowest: self.min.unwrap_or(usual.lowest),
            greatest: self.max.unwrap_or(usual.greatest),
            ..usual
        }
    }
}

impl BetaSetting {
    /// β as an objective takes it.
    pub fn beta(self) -> Beta {
        match self {
            Self::Fixed(beta) => Beta::Fixed(beta),
            Self::Adaptive(of) => Beta::Adaptive(of.adaptive()),
        }
    }
}
