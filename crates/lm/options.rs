//! How a checkpoint is to be loaded: its heads, the implementation, what is kept to train.

use rlhf_device::Precision;
use rlhf_tensor::Storage;
use serde::{Deserialize, Serialize};

/// What a network answers beside its hidden states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputHeads {
    /// Log-probs.
    Language,
    /// Log-probs, and values from one linear layer on the same hidden states
    /// (`v_head.weight` [1, D], `v_head.bias` \[1\], zero where the checkpoint has none).
    LanguageAndValue,
    /// Values only: a separate critic. Log-probs are answered as zeros and take no gradient.
    Value,
    /// One score a response and nothing else: a reward model (`score.weight` [1, D], no bias, as in
    /// transformers' `…ForSequenceClassification`). It is read at the last token that is not the checkpoint's
    /// `pad_token_id`, as transformers does; at the last token where there is no pad id. Loaded to
    /// train from a language model, the head is new and zero.
    Score,
}

impl OutputHeads {
    /// Whether there is a vocabulary head.
    #[must_use]
    pub const fn has_vocabulary(self) -> bool {
        matches!(self, Self::Language | Self::LanguageAndValue)
    }
}

/// Which implementation computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// Our kernels on the CPU, with matrix products in this precision.
    Engine(Precision),
    /// Plain candle operations and candle's autograd: slow, readable, the other's oracle.
    Plain,
}

impl Backend {
    /// Our kernels, all in f32.
    pub const F32: Self = Self::Engine(Precision::F32);
}

/// What a training read keeps for the backward pass. Gradients are the same to the last bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActivationCheckpointing {
    /// All activations that it needs.
    #[default]
    None,
    /// Each block's input alone: blocks run again in the backward pass (Chen et al. 2016, §3), for
    /// a quarter of the memory at twelve blocks and about two thirds of a forward pass more. The plain
    /// network keeps everything in any case.
    Blocks,
}

/// Which ids the distributions of a language model are over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputVocabulary {
    /// All that the embedding has rows for, as transformers has it: to score, and to compare with others.
    Whole,
    /// Those up to the last that has text in the tokenizer, renormalized: to sample and to train, where an id
    /// without text could be drawn and never read.
    WithText,
}

/// How to load a checkpoint folder.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoadOptions {
    /// Frozen or trainable; frozen, in f32 or with matrices in bf16, which the plain network does not
    /// hold.
    pub storage: Storage,
    /// What is kept to train.
    pub activation_checkpointing: ActivationCheckpointing,
    /// The heads.
    pub heads: OutputHeads,
    /// Which ids its distributions are over.
    pub vocabulary: OutputVocabulary,
    /// What logits are divided by, in every answer and when decoding.
    pub temperature: f64,
    /// The implementation.
    pub backend: Backend,
}
