//! Losses of the two implicit rewards separately, not only of their difference: \[pairs\] → \[pairs\].

use super::sigmoid;
use rlhf_objective::{Result, log_sigmoid};
use rlhf_tensor::Tensor;

/// −log σ(h₊) − ½·log σ(−h₊) − ½·log σ(−h₋).
pub(super) fn nca(chosen: &Tensor, rejected: &Tensor) -> Result<Tensor> {
    let negatives = (log_sigmoid(&chosen.neg()?)? + log_sigmoid(&rejected.neg()?)?)?;
    Ok((log_sigmoid(chosen)? + (negatives * 0.5)?)?.neg()?)
}

/// −log σ(h₊) − log σ(−h₋).
pub(super) fn bco(chosen: &Tensor, rejected: &Tensor) -> Result<Tensor> {
    Ok((log_sigmoid(chosen)? + log_sigmoid(&rejected.neg()?)?)?.neg()?)
}

/// (log-ratio₊ − 1/(2β))² + (log-ratio₋ + 1/(2β))² = [(h₊ − ½)² + (h₋ + ½)²]/β².
pub(super) fn sppo(chosen: &Tensor, rejected: &Tensor, beta: f64) -> Result<Tensor> {
    let squares = ((chosen - 0.5)?.sqr()? + (rejected + 0.5)?.sqr()?)?;
    Ok((squares / (beta * beta))?)
}

/// 1 − σ(h₊) + σ(h₋).
pub(super) fn apo_zero(chosen: &Tensor, rejected: &Tensor) -> Result<Tensor> {
    Ok((sigmoid(&chosen.neg()?)? + sigmoid(rejected)?)?)
}

/// σ(h₊) + 1 − σ(h).
pub(super) fn apo_down(chosen: &Tensor, rejected: &Tensor) -> Result<Tensor> {
    Ok((sigmoid(chosen)? + sigmoid(&(rejected - chosen)?)?)?)
}
