//! What a response is compared with.

use rlhf_tensor::Tensor;
use serde::{Deserialize, Serialize};

/// Added to the standard deviation of a group's scores, in units of the reward, as TRL does: a
/// group of equal scores gives no direction.
const SPREAD_FLOOR: f64 = 1e-4;

/// What is subtracted from f = r − β·ℓ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Baseline {
    /// The mean of the other responses to the prompt: RLOO (Kool et al. 2019; Ahmadian et al. 2024).
    /// Independent of the response it is for, so the gradient is unbiased; at π* it is 0 for every
    /// response, not only on average.
    LeaveOneOut,
    /// A moving mean of f over iterations: REINFORCE (Williams 1992).
    Moving {
        /// How much of it stays at each iteration, in \[0, 1).
        decay: f64,
    },
    /// The group's mean, with the score (not the penalty) divided by the group's standard
    /// deviation: GRPO (Shao et al. 2024, §4.1) with the KL in the reward.
    ///
    /// **Its target is not π\*.** Dividing by σ prices a nat at β·σ of the prompt, so it rests where
    /// π ∝ p₀·exp(r/(β·σ)): another β for every prompt, which moves with the policy.
    Group,
}

/// The moving mean of f, in units of the reward, which a checkpoint keeps; none before the first iteration
/// and with another [`Baseline`].
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MovingMean(pub Option<f64>);

/// Aᵢ = fᵢ − mean of the other f, of K ≥ 2 responses to one prompt, in units of the reward (Kool et
/// al. 2019, eq. 8).
#[must_use]
pub fn leave_one_out(returns: &[f64]) -> Vec<f64> {
    let others = returns.len() as f64 - 1.0;
    let sum: f64 = returns.iter().sum();
    returns.iter().map(|f| f - (sum - f) / others).collect()
}

/// Aᵢ = (rᵢ − mean r)/(σ + 10⁻⁴) − (cᵢ − mean c) of K ≥ 2 responses to one prompt, given their scores
/// r and penalties c = β·ℓ, with the unbiased σ of the scores (Shao et al. 2024, §4.1.2).
#[must_use]
pub fn group_normalized(scores: &[f64], penalties: &[f64]) -> Vec<f64> {
    let count = scores.len() as f64;
    let mean = |of: &[f64]| of.iter().sum::<f64>() / count;
    let (score, penalty) = (mean(scores), mean(penalties));
    let variance = scores.iter().map(|r| (r - score).powi(2)).sum::<f64>() / (count - 1.0);
    let spread = variance.sqrt() + SPREAD_FLOOR;
    let pairs = scores.iter().zip(penalties);
    pairs
        .map(|(r, c)| (r - score) / spread - (c - penalty))
        .collect()
}

/// Σx.
pub(crate) fn sum(of: &Tensor) -> rlhf_objective::Result<f64> {
    let numbers = of.detach().to_dtype(rlhf_tensor::DType::F64)?;
    Ok(numbers.sum_all()?.to_scalar()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(ours: &[f64], expected: &[f64]) {
        let pairs = ours.iter().zip(expected);
        assert!(pairs.clone().count() == expected.len());
        assert!(
            pairs.clone().all(|(a, b)| (a - b).abs() < 1e-12),
            "{ours:?} {expected:?}"
        );
    }

    #[test]
    fn each_is_compared_with_the_others() {
        close(&leave_one_out(&[1.0, 2.0, 6.0]), &[-3.0, -1.5, 4.5]);
        close(&leave_one_out(&[0.5, 0.5]), &[0.0, 0.0]);
    }

    #[test]
    fn scores_are_measured_in_their_own_spread_and_penalties_are_not() {
        let penalties = [0.3, 0.1, 0.2];
        let small = group_normalized(&[1.0, 2.0, 3.0], &penalties);
        let scale = 1.0 / 1.0001;
        close(&small, &[-scale - 0.1, 0.1, scale]);
        let large = group_normalized(&[1e6, 2e6, 3e6], &penalties);
        assert!(small.iter().zip(&large).all(|(a, b)| (a - b).abs() < 2e-4));
        close(&group_normalized(&[2.0; 3], &penalties), &[-0.1, 0.1, 0.0]);
    }
}
