//! The tilt β·log(π/p₀): the KL penalty of a token, and the implicit reward of a policy.

use crate::Result;
use rlhf_tensor::Tensor;

/// β·(log π − log p₀), elementwise, in units of the reward. Subtracted from the reward it is the KL
/// penalty of a token; summed over a response it is the implicit reward (Rafailov et al. 2023, eq. 5).
/// This is the only place where β multiplies a log-ratio.
///
/// With β = 0 the result is 0 for any prior, even where log p₀ = −∞.
///
/// # Errors
/// If the shapes differ.
pub fn tilt(log_probs: &Tensor, prior_log_probs: &Tensor, beta: f64) -> Result<Tensor> {
    if beta == 0.0 {
        return Ok(log_probs.zeros_like()?);
    }
    Ok(((log_probs - prior_log_probs)? * beta)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlhf_tensor::Device;

    #[test]
    fn with_beta_zero_the_tilt_is_zero_for_any_prior() {
        let log_probs = Tensor::new(&[-1f32, -2.], &Device::Cpu).unwrap();
        let prior = Tensor::new(&[-3f32, f32::NEG_INFINITY], &Device::Cpu).unwrap();
        let zero = tilt(&log_probs, &prior, 0.0)
            .unwrap()
            .to_vec1::<f32>()
            .unwrap();
        assert_eq!(zero, [0.0, 0.0]);
        let half = tilt(&log_probs, &prior, 0.5)
            .unwrap()
            .to_vec1::<f32>()
            .unwrap();
        assert_eq!(half, [1.0, f32::INFINITY]);
    }
}
