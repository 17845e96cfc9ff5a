//! The soft Bellman backup.

/// The result of [`soft_backup`] in one state.
#[derive(Debug, Clone, PartialEq)]
pub struct Backup {
    /// V = β·log Σ_a p(a)·exp(Q(a)/β), in units of the reward.
    pub value: f64,
    /// log π(a) = log p(a) + (Q(a) − V)/β, nats; −∞ where log p(a) is.
    pub log_policy: Vec<f64>,
}

/// The counting measure on `actions` actions: every action has weight 1, so log p = 0. With it
/// V = β·log Σ exp(Q/β), the maximum-entropy form (Levine 2018, eq. 8; Haarnoja et al. 2017).
#[must_use]
pub fn counting(actions: usize) -> Vec<f64> {
    vec![0.0; actions]
}

/// V = β·log Σ_a p(a)·exp(Q(a)/β) and π(a) = p(a)·exp((Q(a) − V)/β), given log p(a) in nats, Q and
/// β in units of the reward (Levine 2018, §2; with a prior, Korbak et al. 2022). V = E_π\[Q\] −
/// β·KL(π ‖ p), the maximum over policies. An action of prior probability 0 keeps probability 0.
///
/// The maximum of Q over the support is subtracted, so that a small β does not overflow; and the sum
/// is computed as a difference from its value at Q = max, so that a large β does not cancel.
///
/// # Panics
/// If the lengths differ, β is not positive, or no action has positive weight. A
/// [`crate::Problem`] is checked for these.
#[must_use]
pub fn soft_backup(q: &[f64], log_prior: &[f64], beta: f64) -> Backup {
    assert_eq!(
        q.len(),
        log_prior.len(),
        "q and log_prior must have equal lengths"
    );
    assert!(beta > 0.0, "beta must be positive");
    let support = || {
        q.iter()
            .zip(log_prior)
            .filter(|&(_, &log_p)| log_p > f64::NEG_INFINITY)
    };
    let max_q = support().map(|(&q, _)| q).fold(f64::NEG_INFINITY, f64::max);
    assert!(
        max_q > f64::NEG_INFINITY,
        "at least one action must have positive weight"
    );
    let total: f64 = support().map(|(_, log_p)| log_p.exp()).sum();
    let change: f64 = support()
        .map(|(q, log_p)| log_p.exp() * ((q - max_q) / beta).exp_m1())
        .sum::<f64>()
        / total;
    // log Σ p·exp((Q − max)/β) = log Σ p + log(1 + change), −1 < change ≤ 0.
    let log_sum = if change > -0.5 {
        total.ln() + change.ln_1p()
    } else {
        log_sum_exp(support().map(|(q, log_p)| log_p + (q - max_q) / beta))
    };
    let log_policy = q
        .iter()
        .zip(log_prior)
        .map(|(q, &log_p)| match log_p {
            f64::NEG_INFINITY => f64::NEG_INFINITY,
            _ => log_p + (q - max_q) / beta - log_sum,
        })
        .collect();
    Backup {
        value: max_q + beta * log_sum,
        log_policy,
    }
}

/// log Σ exp(x); −∞ for an empty sum.
pub(crate) fn log_sum_exp(x: impl Iterator<Item = f64> + Clone) -> f64 {
    let max = x.clone().fold(f64::NEG_INFINITY, f64::max);
    if max == f64::NEG_INFINITY {
        return max;
    }
    max + x.map(|x| (x - max).exp()).sum::<f64>().ln()
}

/// exp(log weight)·value; 0 where the weight is 0, even if the value is not finite.
pub(crate) fn weighted(log_weight: f64, value: f64) -> f64 {
    match log_weight {
        f64::NEG_INFINITY => 0.0,
        _ => log_weight.exp() * value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{close, exp};

    #[test]
    fn two_actions_match_reference_values() {
        for (alpha, value, policy) in [
            (0.1, 1.000_004_54, 0.999_954_60),
            (0.5, 1.063_464_01, 0.880_797_08),
            (1.0, 1.313_261_687_518, 0.731_058_578_630),
            (2.0, 1.948_153_97, 0.622_459_33),
            (10.0, 7.443_966_60, 0.524_979_19),
            (100.0, 69.815_968_05, 0.502_499_98),
        ] {
            let backup = soft_backup(&[1.0, 0.0], &counting(2), alpha);
            close(backup.value, value, 1e-8);
            close(backup.log_policy[0].exp(), policy, 1e-8);
            // V = E[Q] + α·H.
            let probs = exp(&backup.log_policy);
            let entropy: f64 = probs.iter().map(|p| -p * p.ln()).sum();
            close(backup.value, probs[0] + alpha * entropy, 1e-12);
            close(probs.iter().sum(), 1.0, 1e-12);
        }
    }

    #[test]
    fn values_converge_for_small_and_large_beta() {
        let cold = soft_backup(&[1.0, 0.0], &counting(2), 1e-3);
        assert_eq!(cold.value, 1.0);
        assert_eq!(exp(&cold.log_policy), [1.0, 0.0]);
        let hot = soft_backup(&[1.0, 0.0], &counting(2), 1e6);
        close(hot.log_policy[0].exp(), 0.500_000_25, 1e-12);
        close(hot.value, 693_147.68, 1e-2);
        close(hot.value - 1e6 * 2f64.ln(), 0.5, 1e-6);
        for beta in [1e-6, 1e6] {
            let backup = soft_backup(&[1.0, 0.0], &[0.2f64.ln(), 0.8f64.ln()], beta);
            let limit = if beta < 1.0 { 1.0 } else { 0.2 };
            close(backup.value, limit, 1e-5);
            close(exp(&backup.log_policy).iter().sum(), 1.0, 1e-12);
        }
    }

    #[test]
    fn a_nonuniform_prior_matches_reference_values() {
        let log_prior = [0.2f64.ln(), 0.8f64.ln()];
        let backup = soft_backup(&[1.0, 0.0], &log_prior, 1.0);
        close(backup.value, 0.295_394_53, 1e-8);
        close(backup.log_policy[0].exp(), 0.404_609_68, 1e-8);
        let kl: f64 = (0..2)
            .map(|a| backup.log_policy[a].exp() * (backup.log_policy[a] - log_prior[a]))
            .sum();
        close(kl, 0.109_215_15, 1e-8);
        let colder = soft_backup(&[1.0, 0.0], &log_prior, 0.5);
        close(colder.value, 0.411_607_50, 1e-8);
        close(colder.log_policy[0].exp(), 0.648_785_64, 1e-8);
    }

    #[test]
    fn actions_with_prior_probability_zero_keep_it() {
        let half = 0.5f64.ln();
        for reward in [100.0, f64::NAN] {
            let backup = soft_backup(&[0.0, 0.0, reward], &[half, half, f64::NEG_INFINITY], 0.5);
            close(backup.value, 0.0, 1e-15);
            assert_eq!(exp(&backup.log_policy)[2], 0.0);
            close(exp(&backup.log_policy)[0], 0.5, 1e-15);
        }
    }

    #[test]
    fn scaling_rewards_and_beta_scales_values_and_keeps_the_policy() {
        let log_prior = [0.2f64.ln(), 0.3f64.ln(), 0.5f64.ln()];
        let backup = soft_backup(&[1.0, -0.5, 0.75], &log_prior, 0.4);
        let scaled = soft_backup(&[3.0, -1.5, 2.25], &log_prior, 1.2);
        close(scaled.value, 3.0 * backup.value, 1e-12);
        for (a, b) in scaled.log_policy.iter().zip(&backup.log_policy) {
            close(*a, *b, 1e-12);
        }
    }

    #[test]
    fn derivative_of_the_value_by_the_temperature_is_the_entropy() {
        let value = |alpha| soft_backup(&[1.0, 0.0], &counting(2), alpha).value;
        close(
            (value(1.0 + 1e-5) - value(1.0 - 1e-5)) / 2e-5,
            0.582_203_11,
            1e-7,
        );
    }
}
