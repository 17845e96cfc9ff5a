//! Losses of the margin h, the difference of the two implicit rewards: \[pairs\] → \[pairs\].

use super::sigmoid as probability;
use rlhf_objective::{Result, log_sigmoid};
use rlhf_tensor::Tensor;

/// −(1 − ε)·log σ(h) − ε·log σ(−h).
pub(super) fn sigmoid(margin: &Tensor, label_smoothing: f64) -> Result<Tensor> {
    let positive = (log_sigmoid(margin)? * (label_smoothing - 1.0))?;
    if label_smoothing == 0.0 {
        return Ok(positive);
    }
    Ok((positive - (log_sigmoid(&margin.neg()?)? * label_smoothing)?)?)
}

/// [−(1 − ε)·log σ(h) + ε·log σ(−h)]/(1 − 2ε): an unbiased estimate of the loss of the true labels
/// where labels are flipped at rate ε.
pub(super) fn robust(margin: &Tensor, label_smoothing: f64) -> Result<Tensor> {
    let scale = 1.0 / (1.0 - 2.0 * label_smoothing);
    let positive = (log_sigmoid(margin)? * ((label_smoothing - 1.0) * scale))?;
    Ok((positive + (log_sigmoid(&margin.neg()?)? * (label_smoothing * scale))?)?)
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
    let positive = term(margin, 1.0 - label_smoothing)?;
    Ok((positive + term(&margin.neg()?, label_smoothing)?)?)
}

/// −log σ(h)·σ(−h/τ) + e⁻ʰ·σ(h/τ). The second term is one exponential, because its factors are ∞
/// and 0 for very negative h.
pub(super) fn discopop(margin: &Tensor, temperature: f64) -> Result<Tensor> {
    let scaled = (margin / temperature)?;
    let logistic = (log_sigmoid(margin)?.neg()? * probability(&scaled.neg()?)?)?;
    let exponential = (log_sigmoid(&scaled)? - margin)?.exp()?;
    Ok((logistic + exponential)?)
}
