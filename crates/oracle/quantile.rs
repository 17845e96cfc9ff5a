//! The optimum in closed form where the reward is the quantile of a score under the prior.

/// The optimum for a reward uniform on [0, 1] under the prior, at λ = 1/β.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuantileOptimum {
    /// log Z, nats.
    pub log_z: f64,
    /// E\[u\], in [½, 1): the win rate against a sample from the prior.
    pub reward: f64,
    /// KL(π* ‖ p₀), nats.
    pub kl: f64,
}

/// The optimum for the reward u = F_p₀(score), which is uniform under the prior for any continuous
/// score, so the frontier has a closed form (Matrenok et al. 2025): log Z = log((e^λ − 1)/λ),
/// E = 1/(1 − e^−λ) − 1/λ, KL = λ·E − log Z.
///
/// # Panics
/// If `lambda` is not positive.
#[must_use]
pub fn quantile_optimum(lambda: f64) -> QuantileOptimum {
    assert!(lambda > 0.0, "lambda must be positive");
    // (e^λ − 1)/λ = e^λ·(1 − e^−λ)/λ, which does not overflow.
    let log_z = lambda + (-(-lambda).exp_m1() / lambda).ln();
    let reward = -1.0 / (-lambda).exp_m1() - 1.0 / lambda;
    QuantileOptimum {
        log_z,
        reward,
        kl: lambda * reward - log_z,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::best_of_n_kl_bound;
    use crate::testing::close;

    #[test]
    fn the_frontier_matches_reference_values() {
        for (lambda, reward, kl) in [
            (1.0, 0.58197671, 0.04065185),
            (2.0, 0.65651764, 0.15159592),
            (4.0, 0.76865736, 0.47940925),
            (10.0, 0.90004540, 1.30308451),
        ] {
            let optimum = quantile_optimum(lambda);
            close(optimum.reward, reward, 1e-8);
            close(optimum.kl, kl, 1e-8);
        }
        assert!(quantile_optimum(1e4).log_z.is_finite());
    }

    #[test]
    fn the_optimum_at_the_kl_of_best_of_four_matches_its_reference_value() {
        let kl = best_of_n_kl_bound(4);
        let (mut low, mut high) = (1e-3, 100.0);
        for _ in 0..100 {
            let middle = 0.5 * (low + high);
            if quantile_optimum(middle).kl < kl {
                low = middle;
            } else {
                high = middle;
            }
        }
        close(quantile_optimum(low).reward, 0.80399589, 1e-7);
    }
}
