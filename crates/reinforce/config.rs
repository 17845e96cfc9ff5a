//! The settings of RLOO, GRPO, REINFORCE and VarGrad. β and the prior belong to the objective.

use rlhf_objective::{Error, LocalKl, Result};
use serde::{Deserialize, Serialize};

/// Settings of the leave-one-out and group baselines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GradientConfig {
    /// The placement of the KL penalty.
    pub kl: KlPlacement,
}

/// The placement of the KL penalty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", from = "KlName", into = "KlName")]
pub enum KlPlacement {
    /// In the reward: the optimum is π*.
    #[default]
    Reward,
    /// In the loss, per token: the optimum is not π*.
    Loss(LocalKl),
}

/// The names of `KlPlacement` in settings.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum KlName {
    Reward,
    LocalKl,
    LocalK2,
    LocalK3,
}

impl From<KlName> for KlPlacement {
    fn from(name: KlName) -> Self {
        match name {
            KlName::Reward => Self::Reward,
            KlName::LocalKl => Self::Loss(LocalKl::LocalKl),
            KlName::LocalK2 => Self::Loss(LocalKl::LocalK2),
            KlName::LocalK3 => Self::Loss(LocalKl::LocalK3),
        }
    }
}

impl From<KlPlacement> for KlName {
    fn from(placement: KlPlacement) -> Self {
        match placement {
            KlPlacement::Reward => Self::Reward,
            KlPlacement::Loss(LocalKl::LocalKl) => Self::LocalKl,
            KlPlacement::Loss(LocalKl::LocalK2) => Self::LocalK2,
            KlPlacement::Loss(LocalKl::LocalK3) => Self::LocalK3,
        }
    }
}

/// Settings of REINFORCE with a moving baseline.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MovingConfig {
    /// The weight of the previous baseline at each iteration, in \[0, 1).
    pub decay: f64,
    /// The placement of the KL penalty.
    pub kl: KlPlacement,
}

impl Default for MovingConfig {
    fn default() -> Self {
        Self {
            decay: 0.9,
            kl: KlPlacement::Reward,
        }
    }
}

impl MovingConfig {
    /// Checks the range of each setting.
    ///
    /// # Errors
    /// If a setting is out of its range; the message names it.
    pub fn check(&self) -> Result<()> {
        if (0.0..1.0).contains(&self.decay) {
            return Ok(());
        }
        Err(Error::Unsupported(format!(
            "[method] decay = {}: must be in [0, 1)",
            self.decay
        )))
    }
}

/// Settings of [`VarGrad`](crate::VarGrad).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VarGradConfig {
    /// Epochs over the rollouts of an iteration. The minimum of the loss does not depend on the
    /// sampler, so several epochs introduce no bias.
    pub epochs: usize,
    /// Mini-batches of an epoch, of whole groups; each is one optimizer step.
    pub minibatches: usize,
}

impl Default for VarGradConfig {
    fn default() -> Self {
        Self {
            epochs: 4,
            minibatches: 1,
        }
    }
}

impl VarGradConfig {
    /// Checks the range of each setting.
    ///
    /// # Errors
    /// If a setting is out of its range; the message names it.
    pub fn check(&self) -> Result<()> {
        for (key, value) in [("epochs", self.epochs), ("minibatches", self.minibatches)] {
            if value == 0 {
                return Err(Error::Unsupported(format!(
                    "[method] {key} = 0: must be at least 1"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_errors_that_name_the_key() {
        for decay in [1.0, -0.1, f64::NAN] {
            let config = MovingConfig {
                decay,
                ..MovingConfig::default()
            };
            let error = config.check().unwrap_err().to_string();
            assert!(error.contains("decay"), "{error}");
        }
        assert!(MovingConfig::default().check().is_ok());
        assert!(VarGradConfig::default().check().is_ok());
        let config = VarGradConfig {
            epochs: 0,
            ..VarGradConfig::default()
        };
        assert!(config.check().unwrap_err().to_string().contains("epochs"));
        assert!(serde_json::from_str::<GradientConfig>(r#"{"epochs": 2}"#).is_err());
        for (name, kl) in [
            ("reward", KlPlacement::Reward),
            ("local-kl", KlPlacement::Loss(LocalKl::LocalKl)),
            ("local-k2", KlPlacement::Loss(LocalKl::LocalK2)),
            ("local-k3", KlPlacement::Loss(LocalKl::LocalK3)),
        ] {
            let text = format!(r#"{{"kl":"{name}"}}"#);
            let config = GradientConfig { kl };
            assert_eq!(serde_json::to_string(&config).unwrap(), text);
            assert_eq!(
                serde_json::from_str::<GradientConfig>(&text).unwrap(),
                config
            );
        }
        assert!(serde_json::from_str::<VarGradConfig>(r#"{"epochs": 2}"#).is_ok());
    }
}
