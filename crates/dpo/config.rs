//! The settings of direct preference optimization. β and the prior belong to the objective.

use crate::{Divergence, LossName, Preference};
use rlhf_objective::{Error, Result};
use serde::{Deserialize, Serialize};

/// Settings of [`Dpo`](crate::Dpo). A number that the loss has no use for must stay as it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Which loss of the family.
    pub loss: LossName,
    /// ε, the share of labels taken to be flipped, in [0, ½).
    pub label_smoothing: f64,
    /// The divergence whose price β is.
    pub divergence: DivergenceName,
    /// α of the divergence of that name, in (0, 1).
    pub divergence_alpha: f64,
    /// τ of discopop.
    pub discopop_temperature: f64,
    /// γ of simpo, in units of the reward a token.
    pub simpo_margin: f64,
    /// λ of orpo, what the odds weigh against the likelihood.
    pub orpo_weight: f64,
}

/// The divergences by name; see [`Divergence`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DivergenceName {
    /// KL(π ‖ p₀).
    #[default]
    #[serde(alias = "reverse_kl")]
    ReverseKl,
    /// KL(p₀ ‖ π).
    #[serde(alias = "forward_kl")]
    ForwardKl,
    /// Jensen and Shannon's.
    #[serde(alias = "js_divergence")]
    Js,
    /// Between both KL, by α. (TRL's coefficient is 1 − α.)
    Alpha,
}

impl Default for Config {
    /// DPO as published: no smoothing. The others' numbers are those of their papers, but for
    /// simpo, whose authors search γ for each model.
    fn default() -> Self {
        Self {
            loss: LossName::Sigmoid,
            label_smoothing: 0.0,
            divergence: DivergenceName::ReverseKl,
            divergence_alpha: 0.5,
            discopop_temperature: 0.05,
            simpo_margin: 0.5,
            orpo_weight: 0.1,
        }
    }
}

impl Config {
    /// The loss these settings name.
    ///
    /// # Errors
    /// If a setting is out of its range, or means nothing to the loss; the message names it.
    pub fn preference(&self) -> Result<Preference> {
        self.check_numbers()?;
        self.check_foreign()?;
        let label_smoothing = self.label_smoothing;
        Ok(match self.loss {
            LossName::Sigmoid => Preference::Sigmoid { label_smoothing },
            LossName::Robust => Preference::Robust { label_smoothing },
            LossName::Hinge => Preference::Hinge,
            LossName::Ipo => Preference::Ipo,
            LossName::IpoNormalized => Preference::IpoNormalized,
            LossName::Exo if label_smoothing == 0.0 => {
                return Err(Error::Unsupported(
                    "[method] label_smoothing = 0: exo is infinite without it; give a little, \
                     as 0.001"
                        .into(),
                ));
            }
            LossName::Exo => Preference::Exo { label_smoothing },
            LossName::Nca => Preference::Nca,
            LossName::Bco => Preference::Bco,
            LossName::Sppo => Preference::Sppo,
            LossName::Aot => Preference::Aot { label_smoothing },
            LossName::ApoZero => Preference::ApoZero,
            LossName::ApoDown => Preference::ApoDown,
            LossName::Discopop => Preference::Discopop {
                temperature: self.discopop_temperature,
            },
            LossName::Simpo => Preference::Simpo {
                margin: self.simpo_margin,
            },
            LossName::Orpo => Preference::Orpo {
                weight: self.orpo_weight,
            },
        })
    }

    /// The divergence these settings name.
    #[must_use]
    pub fn divergence(&self) -> Divergence {
        match self.divergence {
            DivergenceName::ReverseKl => Divergence::ReverseKl,
            DivergenceName::ForwardKl => Divergence::ForwardKl,
            DivergenceName::Js => Divergence::JensenShannon,
            DivergenceName::Alpha => Divergence::Alpha {
                alpha: self.divergence_alpha,
            },
        }
    }

    fn check_numbers(&self) -> Result<()> {
        let finite = |x: f64| x.is_finite();
        for (key, number, good, need) in [
            (
                "label_smoothing",
                self.label_smoothing,
                (0.0..0.5).contains(&self.label_smoothing),
                "at least 0 and less than 0.5",
            ),
            (
                "divergence_alpha",
                self.divergence_alpha,
                self.divergence_alpha > 0.0 && self.divergence_alpha < 1.0,
                "between 0, the reverse KL, and 1, the forward KL",
            ),
            (
                "discopop_temperature",
                self.discopop_temperature,
                finite(self.discopop_temperature) && self.discopop_temperature > 0.0,
                "a positive number",
            ),
            (
                "simpo_margin",
                self.simpo_margin,
                finite(self.simpo_margin),
                "a number",
            ),
            (
                "orpo_weight",
                self.orpo_weight,
                finite(self.orpo_weight) && self.orpo_weight >= 0.0,
                "a number from 0",
            ),
        ] {
            if !good {
                return Err(Error::Unsupported(format!(
                    "[method] {key} = {number}: must be {need}"
                )));
            }
        }
        Ok(())
    }

    /// A setting that is ignored is worse than an error.
    fn check_foreign(&self) -> Result<()> {
        use LossName::{Aot, Discopop, Exo, Orpo, Robust, Sigmoid, Simpo};
        let usual = Self::default();
        let loss = self.loss;
        let smooths = matches!(loss, Sigmoid | Robust | Exo | Aot);
        let diverges = matches!(loss, Sigmoid | Robust);
        let by_alpha = self.divergence == DivergenceName::Alpha;
        for (key, given, means) in [
            (
                "label_smoothing",
                self.label_smoothing != usual.label_smoothing,
                smooths,
            ),
            ("divergence", self.divergence != usual.divergence, diverges),
            (
                "divergence_alpha",
                self.divergence_alpha != usual.divergence_alpha,
                by_alpha,
            ),
            (
                "discopop_temperature",
                self.discopop_temperature != usual.discopop_temperature,
                loss == Discopop,
            ),
            (
                "simpo_margin",
                self.simpo_margin != usual.simpo_margin,
                loss == Simpo,
            ),
            (
                "orpo_weight",
                self.orpo_weight != usual.orpo_weight,
                loss == Orpo,
            ),
        ] {
            if given && !means {
                let what = match key {
                    "divergence_alpha" => "that divergence",
                    _ => loss.name(),
                };
                return Err(Error::Unsupported(format!(
                    "[method] {key} means nothing to {what}: remove it"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Config {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn settings_are_read_and_checked() {
        let config = read(r#"{"label_smoothing": 0.1}"#);
        let smoothed = Preference::Sigmoid {
            label_smoothing: 0.1,
        };
        assert_eq!(config.preference().unwrap(), smoothed);
        for (json, expected) in [
            (r#"{"label_smoothing": -0.1}"#, "label_smoothing = -0.1"),
            (r#"{"label_smoothing": 0.5}"#, "label_smoothing = 0.5"),
            (r#"{"loss": "exo"}"#, "exo is infinite without it"),
            (
                r#"{"loss": "hinge", "label_smoothing": 0.1}"#,
                "label_smoothing means nothing to hinge",
            ),
            (
                r#"{"loss": "ipo", "divergence": "js"}"#,
                "divergence means nothing to ipo",
            ),
            (
                r#"{"divergence_alpha": 0.3}"#,
                "divergence_alpha means nothing to that divergence",
            ),
            (
                r#"{"divergence": "alpha", "divergence_alpha": 1.0}"#,
                "divergence_alpha = 1",
            ),
            (
                r#"{"loss": "discopop", "discopop_temperature": 0}"#,
                "discopop_temperature = 0",
            ),
            (r#"{"orpo_weight": 0.3}"#, "orpo_weight means nothing to"),
        ] {
            let error = read(json).preference().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(serde_json::from_str::<Config>(r#"{"beta": 0.1}"#).is_err());
    }

    #[test]
    fn every_loss_has_its_name_and_those_of_trl_are_understood() {
        for loss in LossName::ALL {
            let name = serde_json::to_value(loss).unwrap();
            assert_eq!(name, loss.name());
            assert!(!loss.assumes().is_empty());
        }
        for (name, loss) in [
            ("exo_pair", LossName::Exo),
            ("nca_pair", LossName::Nca),
            ("bco_pair", LossName::Bco),
            ("sppo_hard", LossName::Sppo),
            ("apo_zero", LossName::ApoZero),
        ] {
            let read: LossName = serde_json::from_value(name.into()).unwrap();
            assert_eq!(read, loss);
        }
        let js = read(r#"{"divergence": "js_divergence"}"#);
        assert_eq!(js.divergence(), Divergence::JensenShannon);
    }
}
