//! The baselines of the policy gradient.

use rlhf_tensor::Tensor;
use serde::{Deserialize, Serialize};

/// Added to the standard deviation of a group's scores, in units of the reward, as in TRL. It avoids
/// a division by 0 where all scores are equal.
const STD_EPSILON: f64 = 1e-4;

/// The baseline that is subtracted from f = r − β·ℓ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Baseline {
    /// The mean of the other responses to the prompt: RLOO (Kool et al. 2019; Ahmadian et al. 2024).
    /// It does not depend on the response itself, so the gradient is unbiased; at π* the advantage
    /// is 0 for every response, not only on average.
    LeaveOneOut,
    /// A moving mean of f over iterations: REINFORCE (Williams 1992).
    Moving {
        /// The weight of the previous mean at each iteration, in \[0, 1).
        decay: f64,
    },
    /// The group's mean, with the scores (not the KL penalties) divided by the group's standard
    /// deviation σ: GRPO (Shao et al. 2024, §4.1) with the KL in the reward.
    ///
    /// **Its optimum is not π\*.** Dividing by σ multiplies β by σ, so the optimum is
    /// π ∝ p₀·exp(r/(β·σ)): another β for each prompt, which changes with the policy.
    Group,
}

/// The moving mean of f, in units of the reward, saved in checkpoints; `None` before the first
/// iteration and with another [`Baseline`].
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MovingMean(pub Option<f64>);

/// Aᵢ = fᵢ − mean of f over the other responses, for K ≥ 2 responses to one prompt, in units of the
/// reward (Kool et al. 2019, eq. 8).
#[must_use]
pub fn leave_one_out(returns: &[f64]) -> Vec<f64> {
    let other_count = returns.len() as f64 - 1.0;
    let sum: f64 = returns.iter().sum();
    returns
        .iter()
        .map(|f| f - (sum - f) / other_count)
        .collect()
}

/// Aᵢ = (rᵢ − mean r)/(σ + 10⁻⁴) − (cᵢ − mean c) for K ≥ 2 responses to one prompt, with scores r,
/// penalties c = β·ℓ, and the unbiased σ of the scores (Shao et al. 2024, §4.1.2).
#[must_use]
pub fn group_normalized(scores: &[f64], penalties: &[f64]) -> Vec<f64> {
    let count = scores.len() as f64;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / count;
    let (mean_score, mean_penalty) = (mean(scores), mean(penalties));
    let variance = scores.iter().map(|r| (r - mean_score).powi(2)).sum::<f64>() / (count - 1.0);
    let std = variance.sqrt() + STD_EPSILON;
    let pairs = scores.iter().zip(penalties);
    pairs
        .map(|(r, c)| (r - mean_score) / std - (c - mean_penalty))
        .collect()
}

/// The sum of a tensor, detached, in f64.
pub(crate) fn sum(tensor: &Tensor) -> rlhf_objective::Result<f64> {
    let tensor = tensor.detach().to_dtype(rlhf_tensor::DType::F64)?;
    Ok(tensor.sum_all()?.to_scalar()?)
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
    fn leave_one_out_subtracts_the_mean_of_the_others() {
        close(&leave_one_out(&[1.0, 2.0, 6.0]), &[-3.0, -1.5, 4.5]);
        close(&leave_one_out(&[0.5, 0.5]), &[0.0, 0.0]);
    }

    #[test]
    fn group_normalization_scales_scores_but_not_penalties() {
        let penalties = [0.3, 0.1, 0.2];
        let small = group_normalized(&[1.0, 2.0, 3.0], &penalties);
        let scale = 1.0 / 1.0001;
        close(&small, &[-scale - 0.1, 0.1, scale]);
        let large = group_normalized(&[1e6, 2e6, 3e6], &penalties);
        assert!(small.iter().zip(&large).all(|(a, b)| (a - b).abs() < 2e-4));
        close(&group_normalized(&[2.0; 3], &penalties), &[-0.1, 0.1, 0.0]);
    }
}
