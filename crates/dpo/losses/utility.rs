//! KTO's loss of one response.

use super::sigmoid;
use rlhf_objective::Result;
use rlhf_tensor::Tensor;

/// 1 − σ(s·(h − z₀)), with s = 1 for a desirable and −1 for an undesirable response: one minus the
/// utility of Ethayarajh et al. 2024, eq. 8, without its weights. `implicit` (rewards) and `signs` are
/// \[B\], and so is the loss.
///
/// # Errors
/// If the shapes differ.
pub fn utility(implicit: &Tensor, signs: &Tensor, reference_point: f64) -> Result<Tensor> {
    sigmoid(&((reference_point - implicit)? * signs)?)
}
