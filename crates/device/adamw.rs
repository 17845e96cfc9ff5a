//! The settings of AdamW.

use serde::{Deserialize, Serialize};
use std::ops::Range;

/// AdamW's constants (Kingma & Ba 2014; decoupled decay: Loshchilov & Hutter 2017), as PyTorch
/// places them: θ ← θ(1 − lr·decay) − lr·m̂/(√v̂ + ε).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AdamW {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// ε, added to √v̂.
    pub epsilon: f64,
    /// Decoupled weight decay, of matrices only.
    pub weight_decay: f64,
}

impl Default for AdamW {
    fn default() -> Self {
        Self {
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
        }
    }
}

/// One step of [`AdamW`].
#[derive(Debug, Clone, Copy)]
pub struct AdamWStep<'a> {
    /// The optimizer's constants.
    pub adamw: &'a AdamW,
    /// The step's number t, from 1 on.
    pub number: u64,
    /// The learning rate.
    pub learning_rate: f64,
    /// The factor that clips the gradients: they are multiplied by it first.
    pub gradient_scale: f64,
}

/// Whether AdamW's decoupled weight decay applies to a parameter (Loshchilov & Hutter 2017). Usually it
/// applies to matrices, and not to norms, biases and embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightDecay {
    /// It applies.
    Yes,
    /// It does not apply.
    No,
}

/// One trained parameter.
#[derive(Debug, Clone)]
pub struct Trained {
    /// The range of its weights, in floats.
    pub weights: Range<usize>,
    /// The offset of its gradient, and of both moments, in their buffers.
    pub gradients: usize,
    /// Whether weight decay applies to it.
    pub decay: WeightDecay,
}
