//! KTO's loss of one answer, liked or not.

use super::sigmoid;
use rlhf_objective::Result;
use rlhf_tensor::Tensor;

/// 1 − σ(s·(h − z₀)), s = 1 where the answer was liked and −1 where it was not: one minus what an
/// answer is worth to somebody for whom gains and losses saturate (Ethayarajh et al. 2024, eq. 8,
/// weights apart). Implicit rewards h and signs s \[B\], the reference point z₀, and the loss \[B\].
///
/// # Errors
/// If the shapes differ.
pub fn utility(implicit: &Tensor, signs: &Tensor, reference_point: f64) -> Result<Tensor> {
    sigmoid(&((reference_point - implicit)? * signs)?)
}
