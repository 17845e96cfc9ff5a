//! What is asked for: a workload, its shape, and the numbers it is computed in.

use rlhf_experiment::{Critic, DtypeName};
use serde::{Serialize, Serializer};
use std::num::NonZeroUsize;

/// What is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// Sampling.
    Generate,
    /// The log-probs of responses that are there.
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
    /// All of them, with their names and what they are.
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
            "A step of direct preference optimization on 8 pairs, 32 + 64 tokens, the prior's share included",
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

/// Another shape than a workload's own.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shape {
    /// Sequences at a time.
    pub batch: Option<NonZeroUsize>,
    /// Tokens of a prompt.
    pub prompt: Option<NonZeroUsize>,
    /// Tokens of a response.
    pub response: Option<NonZeroUsize>,
    /// Vocabulary entries of a network with random weights.
    pub vocab: Option<NonZeroUsize>,
    /// What training keeps for the backward pass, as `train.activation_checkpointing` names it.
    pub activation_checkpointing: Option<String>,
}

impl Shape {
    /// `train.activation_checkpointing`.
    pub(crate) fn activation_checkpointing(&self) -> &str {
        self.activation_checkpointing.as_deref().unwrap_or("none")
    }
}

/// How a workload is measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The network: tiny, small or gpt2, with random weights, or a checkpoint folder.
    pub size: String,
    /// Where it differs from the workload's own.
    pub shape: Shape,
    /// Where PPO has its values from.
    pub critic: Critic,
    /// How often it is timed, after a first time that does not count; 0 counts the first.
    pub repeats: usize,
    /// What products are computed in.
    pub dtype: DtypeName,
    /// What prior and reward models are held in.
    pub frozen_dtype: DtypeName,
}
