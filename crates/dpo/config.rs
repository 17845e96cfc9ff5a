//! The settings of direct preference optimization. β and the prior belong to the objective.

use crate::Preference;
use rlhf_objective::{Error, Result};
use serde::{Deserialize, Serialize};

/// Settings of [`Dpo`](crate::Dpo).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Which loss of the family.
    pub loss: LossName,
    /// ε, the share of labels taken to be flipped, in [0, ½).
    pub label_smoothing: f64,
}

/// The losses by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossName {
    /// −log σ, smoothed by ε: DPO (Rafailov et al. 2023, eq. 7) and, with ε > 0, conservative DPO.
    #[default]
    Sigmoid,
}

impl Default for Config {
    /// DPO as published: no smoothing.
    fn default() -> Self {
        Self {
            loss: LossName::Sigmoid,
            label_smoothing: 0.0,
        }
    }
}

impl Config {
    /// The loss these settings name.
    ///
    /// # Errors
    /// If a setting is out of its range; the message names it.
    pub fn preference(&self) -> Result<Preference> {
        let label_smoothing = self.label_smoothing;
        if !(0.0..0.5).contains(&label_smoothing) {
            return Err(Error::Unsupported(format!(
                "[method] label_smoothing = {label_smoothing}: must be at least 0 and less than 0.5"
            )));
        }
        Ok(match self.loss {
            LossName::Sigmoid => Preference::Sigmoid { label_smoothing },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_and_checked() {
        let config: Config = serde_json::from_str(r#"{"label_smoothing": 0.1}"#).unwrap();
        let smoothed = Preference::Sigmoid {
            label_smoothing: 0.1,
        };
        assert_eq!(config.preference().unwrap(), smoothed);
        for label_smoothing in [-0.1, 0.5, f64::NAN] {
            let config = Config {
                label_smoothing,
                ..Config::default()
            };
            let error = config.preference().unwrap_err().to_string();
            assert!(error.contains("label_smoothing"), "{error}");
        }
        assert!(serde_json::from_str::<Config>(r#"{"beta": 0.1}"#).is_err());
    }
}
