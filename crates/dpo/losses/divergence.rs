//! The implicit reward β·f′(π/p₀) of a divergence penalty β·D_f(π ‖ p₀).

use rlhf_objective::{Result, log_sigmoid, tilt};
use rlhf_tensor::Tensor;

/// Exponents are clamped here so that eˣ stays finite in f32; beyond it the gradient is 0.
const MAX_EXPONENT: f64 = 80.0;

/// The divergence in the objective, by its generator f: maximizing E\[r\] − β·D_f(π ‖ p₀) gives
/// r = β·f′(π/p₀) + μ(x), so that f′ takes the place of the log-ratio in DPO (Wang et al. 2024,
/// eq. 7).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Divergence {
    /// KL(π ‖ p₀): f′(u) = log u + 1. Its optimum is π* = p₀·exp(r/β)/Z.
    ReverseKl,
    /// KL(p₀ ‖ π): f′(u) = −1/u.
    ForwardKl,
    /// Jensen–Shannon: f′(u) = log(2u/(1 + u)).
    JensenShannon,
    /// f′(u) = (1 − u^−α)/α: reverse KL at α → 0, forward KL at α = 1.
    Alpha {
        /// α, in (0, 1).
        alpha: f64,
    },
}

impl Divergence {
    /// Implicit rewards β·f′(π/p₀) up to a constant, in units of the reward, in the shape of
    /// `log_probs`.
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn implicit_rewards(self, log_probs: &Tensor, prior: &Tensor, beta: f64) -> Result<Tensor> {
        let log_ratio = || log_probs - prior;
        let slope = match self {
            Self::ReverseKl => return tilt(log_probs, prior, beta),
            Self::ForwardKl => exp(&log_ratio()?.neg()?)?.neg()?,
            Self::JensenShannon => log_sigmoid(&log_ratio()?)?,
            Self::Alpha { alpha } => {
                let power = exp(&(log_ratio()? * -alpha)?)?;
                ((1.0 - power)? / alpha)?
            }
        };
        // `tilt` multiplies by β, as for the log-ratio.
        tilt(&slope, &slope.zeros_like()?, beta)
    }
}

fn exp(x: &Tensor) -> Result<Tensor> {
    Ok(x.minimum(MAX_EXPONENT)?.exp()?)
}
