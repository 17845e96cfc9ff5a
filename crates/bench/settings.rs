//! The settings of a measurement: the workload, its shape and its precision.

use rlhf_experiment::{Critic, DtypeName};
use serde::{Serialize, Serializer};
use std::num::NonZeroUsize;

/// The work that is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// Sampling.
    Generate,
    /// Computing the log-probs of given responses.
    Score,
    /// A step of supervised fine-tuning.
    Train,
    /// A step of direct preference optimization.
    Dpo,
    /// An iteration of PPO.
    Ppo,
    /// An iteration of RLOO.
    Rloo,
}

impl Workload {
    /// All variants: name, value and description.
    pub const ALL: [(&'static str, Self, &'static str); 6] = [
        (
            "generate",
            Self::Generate,
            "Sampling 16 responses of 64 tokens to prompts of 32",
        ),
        ("score", Self::Score, "The log-probs of 16 such responses"),
        (
            "train",
            Self::Train,
            "A step of supervised fine-tuning: 16 documents of 96 tokens, or 8 of 128 at GPT-2's size",
        ),
        (
            "dpo",
            Self::Dpo,
            "A step of direct preference optimization on 8 pairs, 32 + 64 tokens, with its prior log-probs",
        ),
        (
            "ppo",
            Self::Ppo,
            "An iteration of PPO: 16 responses, 4 epochs, a reward model of the same size",
        ),
        (
            "rloo",
            Self::Rloo,
            "An iteration of RLOO: 4 responses to each of 4 prompts, a reward model of the same size",
        ),
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        let own = Self::ALL.iter().find(|(_, workload, _)| *workload == self);
        own.map_or("", |(name, ..)| name)
    }
}

impl Serialize for Workload {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.name())
    }
}

/// Overrides of a workload's default shape.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shape {
    /// Sequences per batch.
    pub batch: Option<NonZeroUsize>,
    /// Tokens of a prompt.
    pub prompt: Option<NonZeroUsize>,
    /// Tokens of a response.
    pub response: Option<NonZeroUsize>,
    /// Vocabulary size of a network with random weights.
    pub vocab: Option<NonZeroUsize>,
    /// `train.activation_checkpointing`: which activations training keeps for the backward pass.
    pub activation_checkpointing: Option<String>,
}

impl Shape {
    /// `train.activation_checkpointing`.
    pub(crate) fn activation_checkpointing(&self) -> &str {
        self.activation_checkpointing.as_deref().unwrap_or("none")
    }
}

/// The settings of a measurement.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The network: tiny, small or gpt2, with random weights, or a checkpoint folder.
    pub size: String,
    /// Overrides of the workload's shape.
    pub shape: Shape,
    /// Where PPO's values come from.
    pub critic: Critic,
    /// Timed repetitions, after one that is not counted; with 0 only the first is timed.
    pub repeats: usize,
    /// The precision of matrix products.
    pub dtype: DtypeName,
    /// The precision in which prior and reward models are stored.
    pub frozen_dtype: DtypeName,
}
