//! The best of n draws from the prior, from more draws than n.

use crate::frontier::observed;
use crate::{Bootstrap, Draws};
use rlhf_journal::{FrontierPoint, Point};
use rlhf_oracle::{Outcome, best_of_n_kl_bound};

/// How many draws a prompt needs for each of the n: fewer leave too little of the tail to measure
/// the KL by.
const DRAWS_PER_N: usize = 8;

/// E\[the largest of n rewards\] from N ≥ n draws, without bias: each subset of n is as likely as
/// any other, so the i-th smallest is the largest of C(i−1, n−1) of the C(N, n).
///
/// # Panics
/// If n is 0 or above N.
#[must_use]
pub fn best_of_n_reward(rewards: &[f64], n: usize) -> f64 {
    assert!((1..=rewards.len()).contains(&n), "1 to N draws");
    let mut sorted = rewards.to_vec();
    sorted.sort_by(f64::total_cmp);
    // C(i−1, n−1)/C(N, n) is n/N at i = N, and each next lower one is (i − n)/(i − 1) of it.
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

/// The reward and KL of best-of-n on one prompt. The KL is that of the observed frequencies of the
/// rewards, ties and all, and never above log n − (n − 1)/n: with few different rewards it is far
/// below. It is exactly 0 where the choice changes nothing: of one draw, or of equal rewards.
fn outcome(rewards: &[f64], n: usize) -> Outcome {
    let n_draws = u32::try_from(n).expect("n draws are in memory");
    let the_prior = n == 1 || rewards.iter().all(|reward| *reward == rewards[0]);
    let kl = if the_prior {
        0.0
    } else {
        let kl = observed(rewards).best_of_n(n_draws).kl;
        kl.min(best_of_n_kl_bound(n_draws))
    };
    Outcome {
        reward: best_of_n_reward(rewards, n),
        kl,
    }
}

/// Points for n = 1, 2, 4, … as far as the draws reach. n = 1 is the prior itself.
#[must_use]
pub fn best_of_n_points(label: &str, draws: &Draws, bootstrap: &Bootstrap) -> Vec<FrontierPoint> {
    let Some(least) = draws.rewards.iter().map(Vec::len).min() else {
        return Vec::new();
    };
    let ns = (0..32).map(|power| 1usize << power);
    ns.take_while(|n| n * DRAWS_PER_N <= least)
        .map(|n| {
            let of = |rewards: &[f64]| outcome(rewards, n);
            let outcomes: Vec<Outcome> = draws.rewards.iter().map(|r| of(r)).collect();
            draws.point((label, Point::BestOfN { n }), &outcomes, &of, bootstrap)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlhf_journal::{Interval, Intervals};
    use rlhf_tensor::{Rng, Stream};

    #[test]
    fn five_rewards() {
        let rewards = [0.1, 0.4, 0.2, 0.9, 0.5];
        for (n, expected) in [(1, 0.42), (2, 0.61), (3, 0.73), (5, 0.9)] {
            assert!((best_of_n_reward(&rewards, n) - expected).abs() < 1e-12);
        }
        // Every subset of two, by hand.
        let mut total = 0.0;
        for (i, a) in rewards.iter().enumerate() {
            total += rewards[..i].iter().map(|b: &f64| b.max(*a)).sum::<f64>();
        }
        assert!((total / 10.0 - best_of_n_reward(&rewards, 2)).abs() < 1e-12);
    }

    #[test]
    fn uniform_rewards_and_ties() {
        let mut rng = Rng::new(2, Stream::Data, 0, 0);
        let rewards: Vec<f64> = (0..40_000).map(|_| rng.uniform()).collect();
        for n in [2, 4, 16] {
            let found = outcome(&rewards, n);
            let n = n as f64;
            assert!((found.reward - n / (n + 1.0)).abs() < 0.01);
            assert!((found.kl - (n.ln() - (n - 1.0) / n)).abs() < 0.001);
        }
        // Success half of the time: the bound would say 1.204.
        let coin = [0.0, 1.0].repeat(100);
        assert!((outcome(&coin, 8).kl - 0.667_587_72).abs() < 1e-8);
    }

    #[test]
    fn points_end_where_the_draws_do() {
        let bootstrap = Bootstrap {
            resamples: 100,
            seed: 1,
        };
        let rewards = vec![[0.0, 1.0].repeat(20), [0.0, 0.5].repeat(16)];
        let draws = Draws::of_prompts(rewards);
        let points = best_of_n_points("reference", &draws, &bootstrap);
        let ns: Vec<Point> = points.iter().map(|p| p.point).collect();
        assert_eq!(ns, [1, 2, 4].map(|n| Point::BestOfN { n }));
        assert_eq!(points[0].kl.value, 0.0);
        assert!((points[0].reward.value - 0.375).abs() < 1e-12);
        assert_eq!((points[0].prompts, points[0].samples), (2, 72));
        let none = Draws::of_prompts(Vec::new());
        assert!(best_of_n_points("none", &none, &bootstrap).is_empty());
    }

    /// Frequencies of 1/28 do not sum to 1 exactly, those of 1/16 do.
    #[test]
    fn the_prior_is_at_a_kl_of_exactly_zero() {
        let bootstrap = Bootstrap {
            resamples: 100,
            seed: 1,
        };
        let rewards = |prompt: usize, level: bool| -> Vec<f64> {
            let reward = |draw: usize| {
                if level {
                    0.3
                } else {
                    (draw * prompt) as f64 / 7.0
                }
            };
            (0..20 + 4 * prompt).map(reward).collect()
        };
        for prompts in [1, 7] {
            let different = (1..=prompts).map(|prompt| rewards(prompt, false)).collect();
            let points = best_of_n_points("prior", &Draws::of_prompts(different), &bootstrap);
            assert_eq!((points[0].kl.value, points[0].kl.interval), (0.0, None));
            assert!(points[1].kl.value > 0.1);
            let level = (1..=prompts).map(|prompt| rewards(prompt, true)).collect();
            for point in best_of_n_points("prior", &Draws::of_prompts(level), &bootstrap) {
                assert_eq!((point.kl.value, point.kl.interval), (0.0, None));
                assert!(point.kl.value.is_sign_positive());
            }
        }
    }

    /// The mean of a single prompt's draws varies as their mean does.
    #[test]
    fn one_prompt_has_an_interval_of_its_own() {
        let mut rng = Rng::new(3, Stream::Data, 0, 0);
        let rewards: Vec<f64> = (0..640).map(|_| rng.uniform()).collect();
        let bootstrap = Bootstrap {
            resamples: 1000,
            seed: 1,
        };
        let draws = Draws::of_prompts(vec![rewards]);
        for point in best_of_n_points("reference", &draws, &bootstrap) {
            assert_eq!(point.intervals, Intervals::ThisPromptOnly);
            let Point::BestOfN { n } = point.point else {
                unreachable!()
            };
            let n = n as f64;
            let Interval { low, high } = point.reward.interval.unwrap();
            assert!(low < n / (n + 1.0) && n / (n + 1.0) < high, "{point:?}");
            // 1.96 standard errors of a mean of 640 to each side, for n = 1; less for a maximum.
            assert!(high - low < 2.6 * 2.0 * 0.289 / 640f64.sqrt(), "{point:?}");
        }
    }
}
