//! Best-of-n sampling from the prior.

use crate::{Outcome, Responses};

impl Responses {
    /// Reward and KL of best-of-n: n samples from the prior, of which the one with the greatest
    /// reward is kept; ties are broken at random. π_n(y) = (F(≤r)ⁿ − F(<r)ⁿ)·p₀(y)/p₀(r), with F the
    /// distribution of the reward under the prior (Beirami et al. 2024, eq. 5, with atoms).
    ///
    /// # Panics
    /// If `n` is 0.
    #[must_use]
    pub fn best_of_n(&self, n: u32) -> Outcome {
        assert!(n > 0, "n must be at least 1");
        let max_log_prior = self
            .log_prior()
            .iter()
            .copied()
            .fold(f64::NEG_INFINITY, f64::max);
        let mut by_reward: Vec<(f64, f64)> = self
            .rewards()
            .iter()
            .zip(self.log_prior())
            .map(|(&reward, log_p)| (reward, (log_p - max_log_prior).exp()))
            .collect();
        by_reward.sort_by(|a, b| a.0.total_cmp(&b.0));
        let total: f64 = by_reward.iter().map(|(_, p)| p).sum();
        let mut outcome = Outcome {
            reward: 0.0,
            kl: 0.0,
        };
        let mut below = 0.0;
        for tied in by_reward.chunk_by(|a, b| a.0 == b.0) {
            let p = tied.iter().map(|(_, p)| p).sum::<f64>() / total;
            let up_to = (below + p).min(1.0);
            let mass = up_to.powf(f64::from(n)) - f64::powf(below, f64::from(n));
            if mass > 0.0 {
                outcome.reward += mass * tied[0].0;
                outcome.kl += mass * (mass / p).ln();
            }
            below = up_to;
        }
        outcome
    }
}

/// log n − (n − 1)/n, nats: an upper bound on the KL of best-of-n, attained where the reward has a
/// continuous distribution under the prior (Beirami et al. 2024, theorem 1).
#[must_use]
pub fn best_of_n_kl_bound(n: u32) -> f64 {
    let n = f64::from(n);
    n.ln() - (n - 1.0) / n
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference_tree;
    use crate::testing::close;

    #[test]
    fn best_of_n_matches_reference_values() {
        let responses = reference_tree(0.5).responses();
        let rows = [
            (2, 0.16676924, 0.19314718, 1.29505024, 1.37550854),
            (4, 0.55402059, 0.63629436, 1.67763091, 1.79264291),
            (8, 1.13802736, 1.20444154, 2.08544012, 2.20761040),
            (16, 1.77784323, 1.83508872, 2.45970780, 2.54165755),
            (64, 3.03045328, 3.17450808, 2.94003137, 2.94605093),
        ];
        for (n, kl, bound, reward, best) in rows {
            let outcome = responses.best_of_n(n);
            close(outcome.kl, kl, 1e-8);
            close(best_of_n_kl_bound(n), bound, 1e-8);
            close(outcome.reward, reward, 1e-8);
            close(responses.optimum_at_kl(kl).outcome.reward, best, 1e-7);
        }
        let value = responses.optimum(0.5).log_z * 0.5;
        let gaps = [
            (1, 0.74366248),
            (2, 0.44668392),
            (4, 0.25772891),
            (8, 0.14192309),
            (16, 0.08756335),
            (64, 0.23354480),
        ];
        for (n, gap) in gaps {
            close(value - responses.best_of_n(n).elbo(0.5), gap, 1e-8);
        }
    }

    #[test]
    fn best_of_n_with_binary_rewards_matches_closed_forms() {
        // With success probability ½ under the prior, best-of-4 has success probability 15/16 at a
        // KL of 0.4594 nats, and the KL of every policy is at most log 2.
        let half = 0.5f64.ln();
        let coin = Responses::new(vec![half, half], vec![0.0, 1.0]).unwrap();
        let four = coin.best_of_n(4);
        close(four.reward, 0.9375, 1e-12);
        close(four.kl, 0.4594, 5e-5);
        close(coin.best_of_n(8).kl, 0.66758772, 1e-8);
        close(coin.optimum(1e-3).outcome.kl, 2f64.ln(), 1e-12);
        let binary_kl = |rho: f64, reward: f64| {
            reward * (reward / rho).ln() + (1.0 - reward) * ((1.0 - reward) / (1.0 - rho)).ln()
        };
        close(
            coin.optimum_at_kl(binary_kl(0.5, 0.95)).outcome.reward,
            0.95,
            1e-7,
        );
        close(binary_kl(0.5, 0.95), 0.49463, 1e-5);
        close(binary_kl(0.3, 0.95), 0.96309, 1e-5);
    }
}
