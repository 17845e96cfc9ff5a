//! The soft Bellman backup.

/// What [`soft_backup`] yields in one state.
#[derive(Debug, Clone, PartialEq)]
pub struct Backup {
    /// V = β·log Σ_a p(a)·exp(Q(a)/β), in units of the reward.
    pub value: f64,
    /// log π(a) = log p(a) + (Q(a) − V)/β, nats; −∞ where the prior is.
    pub log_policy: Vec<f64>,
}

/// The counting measure on `actions` actions: every action weighs 1, so log p = 0. With it
/// V = β·log Σ exp(Q/β), the maximum-entropy form (Levine 2018, eq. 8; Haarnoja et al. 2017).
#[must_use]
pub fn counting(actions: usize) -> Vec<f64> {
    vec![0.0; actions]
}

/// V = β·log Σ_a p(a)·exp(Q(a)/β) and π(a) = p(a)·exp((Q(a) − V)/β), given log p(a) in nats, Q and
/// β in units of the reward (Levine 2018, §2; with a prior, Korbak et al. 2022). V = E_π\[Q\] −
/// β·KL(π ‖ p), the largest there is. An action of zero probability keeps it, whatever its Q.
///
/// Q is measured from its maximum over the support, so β near 0 does not overflow; and the sum
/// from its value at Q = max, so a large β does not cancel.
///
/// # Panics
/// If the lengths differ, β is not positive, or no action has positive weight: a [`crate::Problem`]
/// has none of these.
#[must_use]
pub fn soft_backup(q: &[f64], log_prior: &[f64], beta: f64) -> Backup {
    assert_eq!(q.len(), log_prior.len(), "one prior weight an action");
    assert!(beta > 0.0, "beta must be positive");
    let support = || {
        q.iter()
            .zip(log_prior)
            .filter(|&(_, &log_p)| log_p > f64::NEG_INFINITY)
    };
    let best = support().map(|(&q, _)| q).fold(f64::NEG_INFINITY, f64::max);
    assert!(best > f64::NEG_INFINITY, "an action of positive weight");
    let total: f64 = support().map(|(_, log_p)| log_p.exp()).sum();
    let change: f64 = support()
        .map(|(q, log_p)| log_p.exp() * ((q - best) / beta).exp_m1())
        .sum::<f64>()
        / total;
    // log Σ p·exp((Q − max)/β) = log Σ p + log(1 + change), −1 < change ≤ 0.
    let log_sum = if change > -0.5 {
        total.ln() + change.ln_1p()
    } else {
        log_sum_exp(support().map(|(q, log_p)| log_p + (q - best) / beta))
    };
    let log_policy = q
        .iter()
        .zip(log_prior)
        .map(|(q, &log_p)| match log_p {
            f64::NEG_INFINITY => f64::NEG_INFINITY,
            _ => log_p + (q - best) / beta - log_sum,
        })
        .collect();
    Backup {
        value: best + beta * log_sum,
        log_policy,
    }
}

/// log Σ exp(x); −∞ for nothing.
pub(crate) fn log_sum_exp(x: impl Iterator<Item = f64> + Clone) -> f64 {
    let best = x.clone().fold(f64::NEG_INFINITY, f64::max);
    if best == f64::NEG_INFINITY {
        return best;
    }
    best + x.map(|x| (x - best).exp()).sum::<f64>().ln()
}

/// exp(log weight)·value, with 0 for an impossible item whatever its value.
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
    fn two_actions_at_every_temperature() {
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
    fn limits_of_the_temperature() {
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
    fn a_prior_of_two() {
        let log_prior = [0.2f64.ln(), 0.8f64.ln()];
        let one = soft_backup(&[1.0, 0.0], &log_prior, 1.0);
        close(one.value, 0.295_394_53, 1e-8);
        close(one.log_policy[0].exp(), 0.404_609_68, 1e-8);
        let kl: f64 = (0..2)
            .map(|a| one.log_policy[a].exp() * (one.log_policy[a] - log_prior[a]))
            .sum();
        close(kl, 0.109_215_15, 1e-8);
        let half = soft_backup(&[1.0, 0.0], &log_prior, 0.5);
        close(half.value, 0.411_607_50, 1e-8);
        close(half.log_policy[0].exp(), 0.648_785_64, 1e-8);
    }

    #[test]
    fn what_the_prior_forbids_stays_forbidden() {
        let half = 0.5f64.ln();
        for reward in [100.0, f64::NAN] {
            let backup = soft_backup(&[0.0, 0.0, reward], &[half, half, f64::NEG_INFINITY], 0.5);
            close(backup.value, 0.0, 1e-15);
            assert_eq!(exp(&backup.log_policy)[2], 0.0);
            close(exp(&backup.log_policy)[0], 0.5, 1e-15);
        }
    }

    #[test]
    fn policy_depends_on_the_ratio_of_reward_and_temperature() {
        let log_prior = [0.2f64.ln(), 0.3f64.ln(), 0.5f64.ln()];
        let backup = soft_backup(&[1.0, -0.5, 0.75], &log_prior, 0.4);
        let scaled = soft_backup(&[3.0, -1.5, 2.25], &log_prior, 1.2);
        close(scaled.value, 3.0 * backup.value, 1e-12);
        for (a, b) in scaled.log_policy.iter().zip(&backup.log_policy) {
            close(*a, *b, 1e-12);
        }
    }

    #[test]
    fn derivative_with_respect_to_the_temperature_is_the_entropy() {
        let value = |alpha| soft_backup(&[1.0, 0.0], &counting(2), alpha).value;
        close(
            (value(1.0 + 1e-5) - value(1.0 - 1e-5)) / 2e-5,
            0.582_203_11,
            1e-7,
        );
    }
}
