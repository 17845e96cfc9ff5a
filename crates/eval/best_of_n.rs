//! Estimates best-of-n from samples of the prior.

use crate::frontier::empirical;
use crate::{Bootstrap, PriorRewards};
use rlhf_journal::{FrontierPoint, Point};
use rlhf_oracle::{Outcome, best_of_n_kl_bound};

/// The number of samples per prompt, as a multiple of n: with fewer the tail is too small to estimate
/// the KL.
const SAMPLES_PER_N: usize = 8;

/// An unbiased estimate of E\[max of n rewards\] from N ≥ n samples, in units of the reward: the mean
/// over all subsets of size n. The i-th smallest reward is the maximum of C(i−1, n−1) of the C(N, n)
/// subsets.
///
/// # Panics
/// If n is 0 or above N.
#[must_use]
pub fn best_of_n_reward(rewards: &[f64], n: usize) -> f64 {
    assert!(
        (1..=rewards.len()).contains(&n),
        "n must be between 1 and the number of samples"
    );
    let mut sorted = rewards.to_vec();
    sorted.sort_by(f64::total_cmp);
    // C(i−1, n−1)/C(N, n) is n/N at i = N; from i to i − 1 it is multiplied by (i − n)/(i − 1).
    let mut weight = n as f64 / sorted.len() as f64;
    let mut mean = 0.0;
    for i in (n..=sorted.len()).rev() {
        mean += weight * sorted[i - 1];
        if i > 1 {
            weight *= (i - n) as f64 / (i - 1) as f64;
        }
    }
    mean
}

/// The reward and KL of best-of-n on one prompt. The KL is that of the empirical distribution of the
/// rewards, including ties, and at most log n − (n − 1)/n; with few distinct rewards it is far lower.
/// It is exactly 0 for n = 1 and where all rewards are equal.
fn outcome(rewards: &[f64], n: usize) -> Outcome {
    let n_u32 = u32::try_from(n).expect("n is at most the number of samples in memory");
    let equals_prior = n == 1 || rewards.iter().all(|reward| *reward == rewards[0]);
    let kl = if equals_prior {
        0.0
    } else {
        let kl = empirical(rewards).best_of_n(n_u32).kl;
        kl.min(best_of_n_kl_bound(n_u32))
    };
    Outcome {
        reward: best_of_n_reward(rewards, n),
        kl,
    }
}

/// Points for n = 1, 2, 4, … as far as the number of samples allows. n = 1 is the prior.
#[must_use]
pub fn best_of_n_points(
    label: &str,
    prior_rewards: &PriorRewards,
    bootstrap: &Bootstrap,
) -> Vec<FrontierPoint> {
    let Some(fewest) = prior_rewards.rewards.iter().map(Vec::len).min() else {
        return Vec::new();
    };
    let ns = (0..32).map(|power| 1usize << power);
    ns.take_while(|n| n * SAMPLES_PER_N <= fewest)
        .map(|n| {
            let estimate = |rewards: &[f64]| outcome(rewards, n);
            let outcomes: Vec<Outcome> =
                prior_rewards.rewards.iter().map(|r| estimate(r)).collect();
            prior_rewards.point(
                (label, Point::BestOfN { n }),
                &outcomes,
                &estimate,
                bootstrap,
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlhf_journal::{Interval, Intervals};
    use rlhf_tensor::{Rng, Stream};

    #[test]
    fn best_of_n_reward_matches_hand_computed_values() {
        let rewards = [0.1, 0.4, 0.2, 0.9, 0.5];
        for (n, expected) in [(1, 0.42), (2, 0.61), (3, 0.73), (5, 0.9)] {
            assert!((best_of_n_reward(&rewards, n) - expected).abs() < 1e-12);
        }
        // The mean over all subsets of two.
        let mut total = 0.0;
        for (i, a) in rewards.iter().enumerate() {
            total += rewards[..i].iter().map(|b: &f64| b.max(*a)).sum::<f64>();
        }
        assert!((total / 10.0 - best_of_n_reward(&rewards, 2)).abs() < 1e-12);
    }

    #[test]
    fn uniform_and_binary_rewards_match_closed_forms() {
        let mut rng = Rng::new(2, Stream::Data, 0, 0);
        let rewards: Vec<f64> = (0..40_000).map(|_| rng.uniform()).collect();
        for n in [2, 4, 16] {
            let found = outcome(&rewards, n);
            let n = n as f64;
            assert!((found.reward - n / (n + 1.0)).abs() < 0.01);
            assert!((found.kl - (n.ln() - (n - 1.0) / n)).abs() < 0.001);
        }
        // Success probability ½, where the bound is 1.204.
        let coin = [0.0, 1.0].repeat(100);
        assert!((outcome(&coin, 8).kl - 0.667_587_72).abs() < 1e-8);
    }

    #[test]
    fn points_end_where_the_samples_do() {
        let bootstrap = Bootstrap {
            resamples: 100,
            seed: 1,
        };
        let rewards = vec![[0.0, 1.0].repeat(20), [0.0, 0.5].repeat(16)];
        let prior_rewards = PriorRewards::of_prompts(rewards);
        let points = best_of_n_points("reference", &prior_rewards, &bootstrap);
        let ns: Vec<Point> = points.iter().map(|p| p.point).collect();
        assert_eq!(ns, [1, 2, 4].map(|n| Point::BestOfN { n }));
        assert_eq!(points[0].kl.value, 0.0);
        assert!((points[0].reward.value - 0.375).abs() < 1e-12);
        assert_eq!((points[0].prompts, points[0].samples), (2, 72));
        let none = PriorRewards::of_prompts(Vec::new());
        assert!(best_of_n_points("none", &none, &bootstrap).is_empty());
    }

    /// With 28 samples the empirical frequencies do not sum to exactly 1.
    #[test]
    fn the_kl_of_the_prior_is_exactly_zero() {
        let bootstrap = Bootstrap {
            resamples: 100,
            seed: 1,
        };
        let rewards = |prompt: usize, constant: bool| -> Vec<f64> {
            let reward = |sample: usize| {
                if constant {
                    0.3
                } else {
                    (sample * prompt) as f64 / 7.0
                }
            };
            (0..20 + 4 * prompt).map(reward).collect()
        };
        for prompts in [1, 7] {
            let different = (1..=prompts).map(|prompt| rewards(prompt, false)).collect();
            let points =
                best_of_n_points("prior", &PriorRewards::of_prompts(different), &bootstrap);
            assert_eq!((points[0].kl.value, points[0].kl.interval), (0.0, None));
            assert!(points[1].kl.value > 0.1);
            let constant = (1..=prompts).map(|prompt| rewards(prompt, true)).collect();
            for point in best_of_n_points("prior", &PriorRewards::of_prompts(constant), &bootstrap)
            {
                assert_eq!((point.kl.value, point.kl.interval), (0.0, None));
                assert!(point.kl.value.is_sign_positive());
            }
        }
    }

    /// With a single prompt the interval is over its samples.
    #[test]
    fn a_single_prompt_has_an_interval_over_its_samples() {
        let mut rng = Rng::new(3, Stream::Data, 0, 0);
        let rewards: Vec<f64> = (0..640).map(|_| rng.uniform()).collect();
        let bootstrap = Bootstrap {
            resamples: 1000,
            seed: 1,
        };
        let prior_rewards = PriorRewards::of_prompts(vec![rewards]);
        for point in best_of_n_points("reference", &prior_rewards, &bootstrap) {
            assert_eq!(point.intervals, Intervals::ThisPromptOnly);
            let Point::BestOfN { n } = point.point else {
                unreachable!()
            };
            let n = n as f64;
            let Interval { low, high } = point.reward.interval.unwrap();
            assert!(low < n / (n + 1.0) && n / (n + 1.0) < high, "{point:?}");
            // At most 2.6 standard errors of a mean of 640 to each side; less for a maximum.
            assert!(high - low < 2.6 * 2.0 * 0.289 / 640f64.sqrt(), "{point:?}");
        }
    }
}
