//! Intervals over prompts.

use rlhf_journal::Estimate;
use rlhf_tensor::{Rng, Stream};

/// How intervals are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bootstrap {
    /// How often the prompts are drawn anew; a thousand at least for two good digits.
    pub resamples: usize,
    /// The seed; with it and the number of prompts the same prompts are drawn for every estimate,
    /// so that differences between checkpoints are not noise.
    pub seed: u64,
}

impl Bootstrap {
    /// The mean over prompts with its 95 % percentile interval (Efron & Tibshirani 1993, ch. 13).
    /// Prompts are drawn with replacement, each with all of its samples, because the samples of a
    /// prompt are not independent of each other. One prompt gives an interval of no width.
    ///
    /// # Panics
    /// If there is no prompt or no resample.
    #[must_use]
    pub fn mean(&self, per_prompt: &[f64]) -> Estimate {
        let n = per_prompt.len();
        assert!(n > 0 && self.resamples > 0, "prompts and resamples");
        let mut rng = Rng::new(self.seed, Stream::Bootstrap, 0, 0);
        let mut draw = || (0..n).map(|_| per_prompt[rng.below(n)]).sum::<f64>() / n as f64;
        let mut means: Vec<f64> = (0..self.resamples).map(|_| draw()).collect();
        means.sort_by(f64::total_cmp);
        Estimate {
            value: per_prompt.iter().sum::<f64>() / n as f64,
            low: quantile(&means, 0.025),
            high: quantile(&means, 0.975),
        }
    }
}

/// The quantile of sorted numbers, linear between neighbours.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, rest) = (place.floor() as usize, place.fract());
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] * (1.0 - rest) + sorted[above] * rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        let sorted = [0.0, 1.0, 2.0, 4.0];
        assert_eq!(quantile(&sorted, 0.0), 0.0);
        assert_eq!(quantile(&sorted, 0.5), 1.5);
        assert_eq!(quantile(&sorted, 1.0), 4.0);
        assert_eq!(quantile(&[3.0], 0.975), 3.0);
    }

    #[test]
    fn intervals_cover_the_mean_as_often_as_they_say() {
        let mut rng = Rng::new(4, Stream::Data, 0, 0);
        let (trials, prompts) = (400, 60);
        let mut covered = 0;
        for seed in 0..trials {
            let values: Vec<f64> = (0..prompts).map(|_| 2.0 + rng.normal()).collect();
            let bootstrap = Bootstrap {
                resamples: 500,
                seed,
            };
            let estimate = bootstrap.mean(&values);
            assert!(estimate.low < estimate.value && estimate.value < estimate.high);
            covered += usize::from(estimate.low < 2.0 && 2.0 < estimate.high);
        }
        // 95 % less the bootstrap's known optimism at 60 prompts, within four standard errors.
        let share = covered as f64 / trials as f64;
        assert!((0.90..0.985).contains(&share), "{share}");
    }

    #[test]
    fn the_same_seed_gives_the_same_interval() {
        let bootstrap = Bootstrap {
            resamples: 1000,
            seed: 3,
        };
        let values = [0.1, 0.4, 0.2, 0.9, 0.5];
        let first = bootstrap.mean(&values);
        assert_eq!(first, bootstrap.mean(&values));
        // Shifted values are drawn alike: the interval shifts with them.
        let shifted = bootstrap.mean(&values.map(|x| x + 8.0));
        assert!((shifted.low - first.low - 8.0).abs() < 1e-12);
        let other = Bootstrap {
            seed: 4,
            ..bootstrap
        };
        assert_ne!(first, other.mean(&values));
        let one = bootstrap.mean(&[0.5]);
        assert_eq!((one.low, one.value, one.high), (0.5, 0.5, 0.5));
    }
}
