//! What the objectives and the methods are called, and which method and prior a preset names.

use super::PriorKind;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A preset: a method with a prior.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ObjectiveName {
    /// PPO, with the KL to a reference model paid in the reward.
    PpoKl,
    /// PPO with the counting prior: maximum entropy.
    Maxent,
    /// PPO with a model of demonstrations as the prior.
    Imitation,
    /// The policy gradient, each response compared with the others to its prompt.
    Rloo,
    /// The policy gradient with a moving baseline.
    Reinforce,
    /// The policy gradient with scores measured in the spread of their group.
    Grpo,
    /// The least variance of reward minus KL among the responses to a prompt.
    Vargrad,
    /// Direct preference optimization.
    Dpo,
    /// Single answers, liked or not.
    Kto,
    /// Supervised fine-tuning.
    Sft,
    /// A reward model, fitted to preference pairs.
    Reward,
}

/// What moves the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MethodName {
    Ppo,
    Rloo,
    Reinforce,
    Grpo,
    Vargrad,
    Dpo,
    Kto,
    Sft,
    Reward,
}

impl ObjectiveName {
    pub(crate) fn method(self) -> MethodName {
        match self {
            Self::PpoKl | Self::Maxent | Self::Imitation => MethodName::Ppo,
            Self::Rloo => MethodName::Rloo,
            Self::Reinforce => MethodName::Reinforce,
            Self::Grpo => MethodName::Grpo,
            Self::Vargrad => MethodName::Vargrad,
            Self::Dpo => MethodName::Dpo,
            Self::Kto => MethodName::Kto,
            Self::Sft => MethodName::Sft,
            Self::Reward => MethodName::Reward,
        }
    }

    /// The prior of the preset; `[prior]` overrides it.
    pub(crate) fn prior(self) -> PriorKind {
        use PriorKind::{Counting, Demonstrations, Reference};
        match self {
            Self::Maxent => Counting,
            Self::Imitation => Demonstrations,
            _ => Reference,
        }
    }
}

impl MethodName {
    /// Whether it learns from the policy's own samples.
    pub(crate) fn online(self) -> bool {
        !matches!(self, Self::Dpo | Self::Kto | Self::Sft | Self::Reward)
    }

    /// Whether it compares several responses to a prompt.
    pub(super) fn compares(self) -> bool {
        matches!(self, Self::Rloo | Self::Grpo | Self::Vargrad)
    }
}

impl fmt::Display for ObjectiveName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = clap::ValueEnum::to_possible_value(self);
        f.write_str(
            value
                .as_ref()
                .map_or("", clap::builder::PossibleValue::get_name),
        )
    }
}
