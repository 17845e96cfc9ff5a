//! Generalized advantage estimation.

/// The advantages of one response's tokens (Schulman et al. 2016, eq. 16), in units of the reward:
/// δₜ = rₜ + γ·vₜ₊₁ − vₜ and Aₜ = δₜ + γλ·Aₜ₊₁, with vₜ the value before token t. The value after the
/// last token is 0, also where the response was truncated.
///
/// # Panics
/// If `rewards` and `values` differ in length.
#[must_use]
pub fn gae(rewards: &[f64], values: &[f64], gamma: f64, lambda: f64) -> Vec<f64> {
    assert_eq!(rewards.len(), values.len());
    let mut advantages = vec![0.0; rewards.len()];
    let (mut next_value, mut next_advantage) = (0.0, 0.0);
    for t in (0..rewards.len()).rev() {
        let delta = rewards[t] + gamma * next_value - values[t];
        next_advantage = delta + gamma * lambda * next_advantage;
        next_value = values[t];
        advantages[t] = next_advantage;
    }
    advantages
}

/// The share of the variance of the returns that the values explain,
/// 1 − Var(return − value)/Var(return); `None` where all returns are equal.
#[must_use]
pub fn explained_variance(returns: &[f64], values: &[f64]) -> Option<f64> {
    let variance = |x: &[f64]| {
        let mean = x.iter().sum::<f64>() / x.len() as f64;
        x.iter().map(|x| (x - mean).powi(2)).sum::<f64>()
    };
    let residuals: Vec<f64> = returns.iter().zip(values).map(|(r, v)| r - v).collect();
    let total = variance(returns);
    (total > 0.0).then(|| 1.0 - variance(&residuals) / total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advantages_and_returns_match_reference_values() {
        let values = [0.3, 0.4, 0.6];
        let advantages = gae(&[-0.02, 0.01, 0.97], &values, 1.0, 0.95);
        let (expected, returns) = ([0.613_425, 0.5615, 0.37], [0.913_425, 0.9615, 0.97]);
        for t in 0..3 {
            assert!((advantages[t] - expected[t]).abs() < 1e-12);
            assert!((advantages[t] + values[t] - returns[t]).abs() < 1e-12);
        }
    }

    #[test]
    fn lambda_interpolates_between_one_step_and_monte_carlo_advantages() {
        let (rewards, values) = ([1.0, -2.0, 0.5, 4.0], [0.3, 0.1, -0.2, 0.7]);
        let one_step = gae(&rewards, &values, 0.9, 0.0);
        let monte_carlo = gae(&rewards, &values, 0.9, 1.0);
        let mut to_go = 0.0;
        for t in (0..4).rev() {
            let next = values.get(t + 1).copied().unwrap_or(0.0);
            to_go = rewards[t] + 0.9 * to_go;
            assert!((one_step[t] - (rewards[t] + 0.9 * next - values[t])).abs() < 1e-12);
            assert!((monte_carlo[t] - (to_go - values[t])).abs() < 1e-12);
        }
    }

    #[test]
    fn explained_variance_matches_hand_computed_values() {
        let returns = [1.0, 2.0, 3.0];
        assert_eq!(explained_variance(&returns, &returns), Some(1.0));
        assert_eq!(explained_variance(&returns, &[5.0; 3]), Some(0.0));
        assert_eq!(explained_variance(&returns, &[3.0, 2.0, 1.0]), Some(-3.0));
        assert_eq!(explained_variance(&[2.0; 3], &returns), None);
    }
}
