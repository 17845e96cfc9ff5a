//! The settings of direct preference optimization. β and the prior belong to the objective.

use crate::{Divergence, LossName, Preference};
use rlhf_objective::{Error, Result};
use serde::{Deserialize, Serialize};

/// Settings of [`Dpo`](crate::Dpo). A setting that the chosen loss does not use must keep its default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The loss.
    pub loss: LossName,
    /// ε, the share of labels assumed to be flipped, in [0, ½).
    pub label_smoothing: f64,
    /// The divergence from the prior that β multiplies.
    pub divergence: DivergenceName,
    /// α of the divergence `alpha`, in (0, 1).
    pub divergence_alpha: f64,
    /// τ of discopop. At the default 0.05 the loss has slope +0.78 at h = 0: training from the prior
    /// at first lowers the chosen response against the rejected one.
    pub discopop_temperature: f64,
    /// γ of simpo, in units of the reward per token.
    pub simpo_margin: f64,
    /// λ of orpo, the weight of the odds-ratio term.
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
    /// Jensen–Shannon.
    #[serde(alias = "js_divergence")]
    Js,
    /// The α-divergence, between the two KL divergences. TRL's coefficient is 1 − α.
    Alpha,
}

impl Default for Config {
    /// DPO as published, without label smoothing. The defaults of the other losses are those of
    /// their papers, except γ of simpo, which its authors tune for each model.
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
    /// The loss with its parameters.
    ///
    /// # Errors
    /// If a setting is out of its range, or is not used by the loss; the message names it.
    pub fn preference(&self) -> Result<Preference> {
        self.check_numbers()?;
        self.check_unused()?;
        let label_smoothing = self.label_smoothing;
        Ok(match self.loss {
            LossName::Sigmoid => Preference::Sigmoid { label_smoothing },
            LossName::Robust => Preference::Robust { label_smoothing },
            LossName::Hinge => Preference::Hinge,
            LossName::Ipo => Preference::Ipo,
            LossName::IpoNormalized => Preference::IpoNormalized,
            LossName::Exo if label_smoothing == 0.0 => {
                return Err(Error::Unsupported(
                    "[method] label_smoothing = 0: the loss exo is infinite without smoothing. Set \
                    a small value such as 0.001"
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

    /// The divergence with its parameter.
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
        for (key, value, valid, expected) in [
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
                "a number of at least 0",
            ),
        ] {
            if !valid {
                return Err(Error::Unsupported(format!(
                    "[method] {key} = {value}: must be {expected}"
                )));
            }
        }
        Ok(())
    }

    /// Rejects settings that the chosen loss does not use, rather than ignoring them.
    fn check_unused(&self) -> Result<()> {
        use LossName::{Aot, Discopop, Exo, Orpo, Robust, Sigmoid, Simpo};
        let default = Self::default();
        let loss = self.loss;
        let uses_smoothing = matches!(loss, Sigmoid | Robust | Exo | Aot);
        let uses_divergence = matches!(loss, Sigmoid | Robust);
        let uses_alpha = self.divergence == DivergenceName::Alpha;
        for (key, changed, used) in [
            (
                "label_smoothing",
                self.label_smoothing != default.label_smoothing,
                uses_smoothing,
            ),
            (
                "divergence",
                self.divergence != default.divergence,
                uses_divergence,
            ),
            (
                "divergence_alpha",
                self.divergence_alpha != default.divergence_alpha,
                uses_alpha,
            ),
            (
                "discopop_temperature",
                self.discopop_temperature != default.discopop_temperature,
                loss == Discopop,
            ),
            (
                "simpo_margin",
                self.simpo_margin != default.simpo_margin,
                loss == Simpo,
            ),
            (
                "orpo_weight",
                self.orpo_weight != default.orpo_weight,
                loss == Orpo,
            ),
        ] {
            if changed && !used {
                let user = match key {
                    "divergence_alpha" => "divergences other than \"alpha\"".to_string(),
                    _ => format!("the loss \"{}\"", loss.name()),
                };
                return Err(Error::Unsupported(format!(
                    "[method] {key} is not used by {user}: remove it"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Config {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn invalid_settings_are_errors_that_name_the_key() {
        let config = parse(r#"{"label_smoothing": 0.1}"#);
        let smoothed = Preference::Sigmoid {
            label_smoothing: 0.1,
        };
        assert_eq!(config.preference().unwrap(), smoothed);
        for (json, expected) in [
            (r#"{"label_smoothing": -0.1}"#, "label_smoothing = -0.1"),
            (r#"{"label_smoothing": 0.5}"#, "label_smoothing = 0.5"),
            (r#"{"loss": "exo"}"#, "the loss exo is infinite"),
            (
                r#"{"loss": "hinge", "label_smoothing": 0.1}"#,
                "label_smoothing is not used by the loss \"hinge\"",
            ),
            (
                r#"{"loss": "ipo", "divergence": "js"}"#,
                "divergence is not used by the loss \"ipo\"",
            ),
            (
                r#"{"divergence_alpha": 0.3}"#,
                "divergence_alpha is not used by divergences other",
            ),
            (
                r#"{"divergence": "alpha", "divergence_alpha": 1.0}"#,
                "divergence_alpha = 1",
            ),
            (
                r#"{"loss": "discopop", "discopop_temperature": 0}"#,
                "discopop_temperature = 0",
            ),
            (r#"{"orpo_weight": 0.3}"#, "orpo_weight is not used by"),
        ] {
            let error = parse(json).preference().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(serde_json::from_str::<Config>(r#"{"beta": 0.1}"#).is_err());
    }

    #[test]
    fn losses_are_parsed_by_their_names_and_by_those_of_trl() {
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
            let parsed: LossName = serde_json::from_value(name.into()).unwrap();
            assert_eq!(parsed, loss);
        }
        let js = parse(r#"{"divergence": "js_divergence"}"#);
        assert_eq!(js.divergence(), Divergence::JensenShannon);
    }
}
