//! The settings of proximal policy optimization. β and the prior belong to the objective.

use rlhf_objective::{Error, Result};
use serde::{Deserialize, Serialize};

/// Settings of [`Ppo`](crate::Ppo).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// ε: the ratio π/π_old is clipped to 1 ± ε.
    pub clip: f64,
    /// ε_v: values are clipped to the old value ± ε_v, in units of the reward.
    pub clip_value: f64,
    /// c_v, the weight of the value loss.
    pub value_weight: f64,
    /// λ of generalized advantage estimation: at 0 one-step advantages from the critic, at 1 sums of
    /// rewards minus the value.
    pub lambda: f64,
    /// γ, the discount per token. Below 1 the optimum is not π* = p₀·exp(r/β)/Z.
    pub gamma: f64,
    /// Epochs over the rollouts of an iteration.
    pub epochs: usize,
    /// Mini-batches of an epoch; each is one optimizer step.
    pub minibatches: usize,
    /// The normalization of the advantages.
    pub advantages: Advantages,
    /// Ends an iteration when the approximate KL(π_old ‖ π) of a step exceeds 1.5 times this value,
    /// nats per token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_kl: Option<f64>,
    /// The coefficient of each token's entropy, subtracted from the loss, in units of the reward per
    /// nat. It rewards the entropy of each token separately, so the optimum is not π*; use the
    /// `counting` prior for maximum-entropy RL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entropy_bonus: Option<f64>,
}

/// The normalization of the advantages before the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Advantages {
    /// Mean 0 and variance 1 over all response tokens of the iteration.
    Whitened,
    /// None: in units of the reward.
    Raw,
}

impl Default for Config {
    /// The settings of Ziegler et al. (2019) and of TRL.
    fn default() -> Self {
        Self {
            clip: 0.2,
            clip_value: 0.2,
            value_weight: 0.1,
            lambda: 0.95,
            gamma: 1.0,
            epochs: 4,
            minibatches: 1,
            advantages: Advantages::Whitened,
            target_kl: None,
            entropy_bonus: None,
        }
    }
}

impl Config {
    /// Checks the range of each setting.
    ///
    /// # Errors
    /// If a setting is out of its range; the message names it.
    pub fn check(&self) -> Result<()> {
        let positive = |x: f64| x > 0.0 && x.is_finite();
        let (at_least_one, share) = ("must be at least 1", "must be between 0 and 1");
        let checks = [
            ("clip", self.clip, positive(self.clip), "must be positive"),
            (
                "clip_value",
                self.clip_value,
                positive(self.clip_value),
                "must be positive",
            ),
            (
                "value_weight",
                self.value_weight,
                self.value_weight >= 0.0 && self.value_weight.is_finite(),
                "must not be negative",
            ),
            (
                "lambda",
                self.lambda,
                (0.0..=1.0).contains(&self.lambda),
                share,
            ),
            (
                "gamma",
                self.gamma,
                (0.0..=1.0).contains(&self.gamma),
                share,
            ),
            ("epochs", self.epochs as f64, self.epochs > 0, at_least_one),
            (
                "minibatches",
                self.minibatches as f64,
                self.minibatches > 0,
                at_least_one,
            ),
            (
                "target_kl",
                self.target_kl.unwrap_or(1.0),
                self.target_kl.is_none_or(positive),
                "must be positive",
            ),
            (
                "entropy_bonus",
                self.entropy_bonus.unwrap_or(1.0),
                self.entropy_bonus.is_none_or(positive),
                "must be positive, or left out",
            ),
        ];
        match checks.iter().find(|(.., valid, _)| !valid) {
            None => Ok(()),
            Some((key, value, _, fix)) => Err(Error::Unsupported(format!(
                "[method] {key} = {value}: {fix}"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_round_trip_through_json() {
        let config = Config {
            target_kl: Some(0.01),
            advantages: Advantages::Raw,
            ..Config::default()
        };
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&text).unwrap(), config);
        assert!(serde_json::from_str::<Config>(r#"{"cliprange": 0.2}"#).is_err());
    }

    #[test]
    fn settings_out_of_range_are_errors_that_name_the_key() {
        assert!(Config::default().check().is_ok());
        let assert_names = |key: &str, config: Config| {
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(&format!(" {key} =")), "{error}");
        };
        let defaults = Config::default;
        assert_names(
            "clip",
            Config {
                clip: 0.0,
                ..defaults()
            },
        );
        let clip_value = f64::NAN;
        assert_names(
            "clip_value",
            Config {
                clip_value,
                ..defaults()
            },
        );
        assert_names(
            "value_weight",
            Config {
                value_weight: -0.1,
                ..defaults()
            },
        );
        assert_names(
            "lambda",
            Config {
                lambda: 1.5,
                ..defaults()
            },
        );
        assert_names(
            "gamma",
            Config {
                gamma: -0.5,
                ..defaults()
            },
        );
        assert_names(
            "epochs",
            Config {
                epochs: 0,
                ..defaults()
            },
        );
        assert_names(
            "minibatches",
            Config {
                minibatches: 0,
                ..defaults()
            },
        );
        let target_kl = Some(-1.0);
        assert_names(
            "target_kl",
            Config {
                target_kl,
                ..defaults()
            },
        );
        let entropy_bonus = Some(0.0);
        assert_names(
            "entropy_bonus",
            Config {
                entropy_bonus,
                ..defaults()
            },
        );
    }
}
