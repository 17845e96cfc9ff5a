//! The settings of proximal policy optimization. β and the prior belong to the objective.

use rlhf_objective::{Error, Result};
use serde::{Deserialize, Serialize};

/// Settings of [`Ppo`](crate::Ppo).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// ε: the ratio π/π_old gains nothing beyond 1 ± ε.
    pub clip: f64,
    /// ε_v: a value gains nothing beyond its old value ± ε_v, in units of the reward.
    pub clip_value: f64,
    /// c_v, the weight of the value loss.
    pub value_weight: f64,
    /// λ of generalized advantage estimation: 0 trusts the critic, 1 the rewards.
    pub lambda: f64,
    /// γ, the discount of a token. Below 1 the optimum is no longer π* = p₀·exp(r/β)/Z.
    pub gamma: f64,
    /// How often each rollout is gone through.
    pub epochs: usize,
    /// Into how many mini-batches, one optimizer step each, an epoch is cut.
    pub minibatches: usize,
    /// What is done to the advantages of a rollout.
    pub advantages: Advantages,
    /// Ends an iteration once the approximate KL(π_old ‖ π) of a step exceeds 1.5 times this, nats
    /// a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_kl: Option<f64>,
    /// Added to the gain for each nat of a token's entropy, in units of the reward. It acts on each
    /// token alone, so with it the optimum is no longer π*; the `counting` prior is the way to
    /// maximum entropy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entropy_bonus: Option<f64>,
}

/// What is done to the advantages before the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Advantages {
    /// Brought to mean 0 and variance 1 over all response tokens of the rollout.
    Whitened,
    /// Left in units of the reward.
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
    /// Whether each setting is in its range.
    ///
    /// # Errors
    /// If one is not; the message names it.
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
        match checks.iter().find(|(.., good, _)| !good) {
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
    fn settings_are_read_back_as_written() {
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
    fn settings_out_of_range_are_named() {
        assert!(Config::default().check().is_ok());
        let named = |key: &str, config: Config| {
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains(&format!(" {key} =")), "{error}");
        };
        let fine = Config::default;
        named(
            "clip",
            Config {
                clip: 0.0,
                ..fine()
            },
        );
        let clip_value = f64::NAN;
        named(
            "clip_value",
            Config {
                clip_value,
                ..fine()
            },
        );
        named(
            "value_weight",
            Config {
                value_weight: -0.1,
                ..fine()
            },
        );
        named(
            "lambda",
            Config {
                lambda: 1.5,
                ..fine()
            },
        );
        named(
            "gamma",
            Config {
                gamma: -0.5,
                ..fine()
            },
        );
        named(
            "epochs",
            Config {
                epochs: 0,
                ..fine()
            },
        );
        named(
            "minibatches",
            Config {
                minibatches: 0,
                ..fine()
            },
        );
        let target_kl = Some(-1.0);
        named(
            "target_kl",
            Config {
                target_kl,
                ..fine()
            },
        );
        let entropy_bonus = Some(0.0);
        named(
            "entropy_bonus",
            Config {
                entropy_bonus,
                ..fine()
            },
        );
    }
}
