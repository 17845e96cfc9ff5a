//! Losses that look at each implicit reward, not at their difference alone: \[pairs\] → \[pairs\].

use super::sigmoid;
use rlhf_objective::{Result, log_sigmoid};
use rlhf_tensor::Tensor;

/// −log σ(h₊) − ½·log σ(−h₊) − ½·log σ(−h₋).
pub(super) fn nca(better: &Tensor, worse: &Tensor) -> Result<Tensor> {
    let against = (log_sigmoid(&better.neg()?)? + log_sigmoid(&worse.neg()?)?)?;
    Ok((log_sigmoid(better)? + (against * 0.5)?)?.neg()?)
}

/// −log σ(h₊) − log σ(−h₋).
pub(super) fn bco(better: &Tensor, worse: &Tensor) -> Result<Tensor> {
    Ok((log_sigmoid(better)? + log_sigmoid(&worse.neg()?)?)?.neg()?)
}

/// (log-ratio₊ − 1/(2β))² + (log-ratio₋ + 1/(2β))² = [(h₊ − ½)² + (h₋ + ½)²]/β².
pub(super) fn sppo(better: &Tensor, worse: &Tensor, beta: f64) -> Result<Tensor> {
    let squares = ((better - 0.5)?.sqr()? + (worse + 0.5)?.sqr()?)?;
    Ok((squares / (beta * beta))?)
}

/// 1 − σ(h₊) + σ(h₋).
pub(super) fn apo_zero(better: &Tensor, worse: &Tensor) -> Result<Tensor> {
    Ok((sigmoid(&better.neg()?)? + sigmoid(worse)?)?)
}

/// σ(h₊) + 1 − σ(h).
pub(super) fn apo_down(better: &Tensor, worse: &Tensor) -> Result<Tensor> {
    Ok((sigmoid(better)? + sigmoid(&(worse - better)?)?)?)
}
