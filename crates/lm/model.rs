//! A network that came from a checkpoint folder and can go back to one.

use crate::Result;
use rlhf_objective::Network;
use rlhf_tensor::Storage;
use std::path::Path;

/// What a network answers beside its hidden states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heads {
    /// Log-probs.
    Language,
    /// Log-probs, and values from one linear layer on the same hidden states
    /// (`v_head.weight` [1, D], `v_head.bias` [1], zero where the checkpoint has none).
    LanguageAndValue,
    /// Values only: a separate critic. Log-probs are answered as zeros and take no gradient.
    Value,
}

/// Which implementation computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Backend {
    /// Our kernels on the CPU.
    #[default]
    Engine,
    /// Plain candle operations and candle's autograd: slow, readable, the other's oracle.
    Plain,
}

/// How to load a checkpoint folder.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoadOptions {
    /// Frozen or trainable.
    pub storage: Storage,
    /// The heads.
    pub heads: Heads,
    /// What logits are divided by, in every answer and when decoding.
    pub temperature: f64,
    /// The implementation.
    pub backend: Backend,
}

/// A network with a folder behind it.
pub trait Model: Network {
    /// Writes the network to `folder` (created if missing) in Hugging Face layout: `config.json`,
    /// `model.safetensors` in f32, the tokenizer's files as they were, and, where there is a value
    /// head, `critic.safetensors` beside them.
    ///
    /// # Errors
    /// If a file cannot be written; then no file is left half-written.
    fn save(&self, folder: &Path) -> Result<()>;

    /// The end-of-sequence token, if the checkpoint has one.
    fn eos(&self) -> Option<u32>;

    /// The beginning-of-sequence token, if the checkpoint has one.
    fn bos(&self) -> Option<u32>;

    /// The longest prompt and response together, in tokens.
    fn context(&self) -> usize;
}

/// Loads the network of a checkpoint folder.
///
/// # Errors
/// If a file is missing or malformed, or its architecture is not supported.
pub fn load(folder: &Path, _options: &LoadOptions) -> Result<Box<dyn Model>> {
    Err(crate::Error::Invalid {
        path: folder.into(),
        message: "not built in yet".into(),
    })
}
