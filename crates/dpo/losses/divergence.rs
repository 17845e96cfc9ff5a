//! What an implicit reward is: β·f′(π/p₀), for the divergence D_f that is paid.

use rlhf_objective::{Result, log_sigmoid, tilt};
use rlhf_tensor::Tensor;

/// The exponent beyond which e^x is no number of 32 bits; its slope is cut to 0.
const GREATEST_EXPONENT: f64 = 80.0;

/// The divergence whose price β is, as a generator f: maximizing E\[r\] − β·D_f(π ‖ p₀) gives
/// r = β·f′(π/p₀) + μ(x), so that f′ takes the place of the log-ratio in DPO (Wang et al. 2024,
/// eq. 7).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Divergence {
    /// KL(π ‖ p₀): f′(u) = log u + 1. Its optimum is π* = p₀·exp(r/β)/Z.
    ReverseKl,
    /// KL(p₀ ‖ π): f′(u) = −1/u.
    ForwardKl,
    /// Jensen and Shannon's: f′(u) = log(2u/(1 + u)).
    JensenShannon,
    /// f′(u) = (1 − u^−α)/α: reverse KL at α → 0, forward KL at α = 1.
    Alpha {
        /// α, in (0, 1).
        alpha: f64,
    },
}

impl Divergence {
    /// Implicit rewards β·f′(π/p₀), constants dropped, in units of the reward; shape of the
    /// log-probs.
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn implicit(self, log_probs: &Tensor, prior: &Tensor, beta: f64) -> Result<Tensor> {
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
        // Paid as the log-ratio is.
        tilt(&slope, &slope.zeros_like()?, beta)
    }
}

fn exp(x: &Tensor) -> Result<Tensor> {
    Ok(x.minimum(GREATEST_EXPONENT)?.exp()?)
}
