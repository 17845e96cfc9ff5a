//! Losses of the difference h of two implicit rewards: \[pairs\] → \[pairs\].

use super::sigmoid as probability;
use rlhf_objective::{Result, log_sigmoid};
use rlhf_tensor::Tensor;

/// −(1 − ε)·log σ(h) − ε·log σ(−h).
pub(super) fn sigmoid(margin: &Tensor, label_smoothing: f64) -> Result<Tensor> {
    let agrees = (log_sigmoid(margin)? * (label_smoothing - 1.0))?;
    if label_smoothing == 0.0 {
        return Ok(agrees);
    }
    Ok((agrees - (log_sigmoid(&margin.neg()?)? * label_smoothing)?)?)
}

/// [−(1 − ε)·log σ(h) + ε·log σ(−h)]/(1 − 2ε): the loss whose mean over labels flipped at rate ε is
/// that of the labels before they were.
pub(super) fn robust(margin: &Tensor, label_smoothing: f64) -> Result<Tensor> {
    let unbias = 1.0 / (1.0 - 2.0 * label_smoothing);
    let agrees = (log_sigmoid(margin)? * ((label_smoothing - 1.0) * unbias))?;
    Ok((agrees + (log_sigmoid(&margin.neg()?)? * (label_smoothing * unbias))?)?)
}

/// max(0, 1 − h).
pub(super) fn hinge(margin: &Tensor) -> Result<Tensor> {
    Ok((1.0 - margin)?.relu()?)
}

/// (Δ − 1/(2β))² = (h − ½)²/β².
pub(super) fn ipo(margin: &Tensor, beta: f64) -> Result<Tensor> {
    Ok(((margin - 0.5)?.sqr()? / (beta * beta))?)
}

/// KL( (σ(h), σ(−h)) ‖ (1 − ε, ε) ), nats.
pub(super) fn exo(margin: &Tensor, label_smoothing: f64) -> Result<Tensor> {
    let term = |margin: &Tensor, label: f64| -> Result<Tensor> {
        let log_ratio = (log_sigmoid(margin)? - label.ln())?;
        Ok((probability(margin)? * log_ratio)?)
    };
    let agrees = term(margin, 1.0 - label_smoothing)?;
    Ok((agrees + term(&margin.neg()?, label_smoothing)?)?)
}

/// −log σ(h)·σ(−h/τ) + e⁻ʰ·σ(h/τ), the second term as one exponential: far below 0 its factors
/// alone would be ∞ and 0.
pub(super) fn discopop(margin: &Tensor, temperature: f64) -> Result<Tensor> {
    let scaled = (margin / temperature)?;
    let logistic = (log_sigmoid(margin)?.neg()? * probability(&scaled.neg()?)?)?;
    let exponential = (log_sigmoid(&scaled)? - margin)?.exp()?;
    Ok((logistic + exponential)?)
}
