//! The most reward any policy can have for its KL, from samples of the prior alone.

use crate::{Bootstrap, Draws};
use rlhf_journal::{FrontierPoint, Point};
use rlhf_oracle::{Outcome, Responses};

/// The fewest samples' worth of weight an estimate may rest on.
const LEAST_ESS: f64 = 50.0;

/// How many nats below log N a KL must stay for N samples to show it.
const MARGIN: f64 = 3.0;

/// The optimum at one β, estimated.
#[derive(Debug, Clone, PartialEq)]
pub struct FrontierEstimate {
    /// β = 1/λ, units of the reward per nat.
    pub beta: f64,
    /// E\[r\] and KL of π* on each prompt.
    pub outcomes: Vec<Outcome>,
    /// log Ẑ of each prompt, nats; low by about χ²/2N.
    pub log_z: Vec<f64>,
    /// The least effective sample size 1/Σw² of a prompt.
    pub ess: f64,
}

/// With K(λ) = log E_p₀[exp(λr)], the optimum at λ = 1/β has E\[r\] = K′(λ) and KL = λK′(λ) − K(λ).
/// Rewards of N draws from the prior estimate both by weights ∝ exp(λr), **for each prompt**: a
/// policy cannot choose its prompts. `rewards` has those draws, prompt by prompt; `lambdas` must
/// rise. The curve ends at the first λ where a prompt's effective sample size is below 50, or its
/// KL above log N − 3: beyond that N draws cannot show it.
///
/// # Panics
/// If a prompt has no rewards, a reward is not finite, or a λ is not positive.
#[must_use]
pub fn optimal_frontier(rewards: &[Vec<f64>], lambdas: &[f64]) -> Vec<FrontierEstimate> {
    if rewards.is_empty() {
        return Vec::new();
    }
    let prompts: Vec<Responses> = rewards.iter().map(|r| observed(r)).collect();
    let estimate = |&lambda: &f64| -> Option<FrontierEstimate> {
        let beta = 1.0 / lambda;
        let mut estimate = FrontierEstimate {
            beta,
            outcomes: Vec::with_capacity(prompts.len()),
            log_z: Vec::with_capacity(prompts.len()),
            ess: f64::INFINITY,
        };
        for prompt in &prompts {
            let optimum = prompt.optimum(beta);
            let squares: f64 = optimum.log_policy.iter().map(|w| (2.0 * w).exp()).sum();
            let ess = 1.0 / squares;
            let draws = prompt.rewards().len() as f64;
            if ess < LEAST_ESS || optimum.outcome.kl > draws.ln() - MARGIN {
                return None;
            }
            estimate.ess = estimate.ess.min(ess);
            estimate.outcomes.push(optimum.outcome);
            estimate.log_z.push(optimum.log_z);
        }
        Some(estimate)
    };
    lambdas.iter().map_while(estimate).collect()
}

/// λ from where the optimum is near the prior to far beyond where draws can show it: in steps of
/// 2^¼ from a fiftieth of a standard deviation of the reward within prompts. Nothing where the reward
/// never differs.
#[must_use]
pub fn temperatures(rewards: &[Vec<f64>]) -> Vec<f64> {
    let variance = |rewards: &Vec<f64>| {
        let n = rewards.len() as f64;
        let mean = rewards.iter().sum::<f64>() / n;
        rewards.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / n
    };
    let total: f64 = rewards.iter().map(variance).sum();
    if total.is_nan() || total <= 0.0 {
        return Vec::new();
    }
    let deviation = (total / rewards.len() as f64).sqrt();
    let lambda = |step: i32| 0.02 / deviation * 2f64.powf(f64::from(step) / 4.0);
    (0..70).map(lambda).collect()
}

/// The estimated curve as points with intervals over prompts.
#[must_use]
pub fn optimal_points(label: &str, draws: &Draws, bootstrap: &Bootstrap) -> Vec<FrontierPoint> {
    optimal_frontier(&draws.rewards, &temperatures(&draws.rewards))
        .iter()
        .map(|estimate| {
            let beta = estimate.beta;
            let of = |rewards: &[f64]| observed(rewards).optimum(beta).outcome;
            let kind = (label, Point::Optimal { beta });
            draws.point(kind, &estimate.outcomes, &of, bootstrap)
        })
        .collect()
}

/// Responses as likely as they were drawn.
pub(crate) fn observed(rewards: &[f64]) -> Responses {
    let log_share = -(rewards.len() as f64).ln();
    Responses::new(vec![log_share; rewards.len()], rewards.to_vec())
        .expect("finite rewards, one at least")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlhf_oracle::quantile_optimum;
    use rlhf_tensor::{Rng, Stream};

    fn close(a: f64, b: f64, tolerance: f64) {
        assert!((a - b).abs() < tolerance, "{a} is not {b}");
    }

    #[test]
    fn two_prompts_are_solved_apart() {
        // Success with probability 0.9 and 0.1.
        let prompt = |ones: usize| -> Vec<f64> {
            (0..1000).map(|i| f64::from(u8::from(i < ones))).collect()
        };
        let rewards = [prompt(900), prompt(100)];
        let found = &optimal_frontier(&rewards, &[2.0])[0];
        let mean = Outcome::mean(&found.outcomes).unwrap();
        close(mean.reward, 0.718_019_29, 1e-8);
        close(mean.kl, 0.234_241_82, 1e-8);
        close(found.log_z.iter().sum::<f64>() / 2.0, 1.201_796_75, 1e-8);
    }

    #[test]
    fn uniform_rewards_follow_the_known_curve() {
        let mut rng = Rng::new(9, Stream::Data, 0, 0);
        let rewards = vec![(0..100_000).map(|_| rng.uniform()).collect::<Vec<f64>>()];
        let lambdas = [1.0, 2.0, 4.0, 10.0];
        let found = optimal_frontier(&rewards, &lambdas);
        assert_eq!(found.len(), 4);
        for (estimate, lambda) in found.iter().zip(lambdas) {
            let exact = quantile_optimum(lambda);
            // Four standard errors of a weighed mean at this effective sample size.
            let error = 4.0 * 0.29 / estimate.ess.sqrt();
            close(estimate.outcomes[0].reward, exact.reward, error);
            close(estimate.outcomes[0].kl, exact.kl, lambda * error);
            close(estimate.log_z[0], exact.log_z, lambda * error);
        }
    }

    #[test]
    fn the_curve_ends_where_the_draws_no_longer_show_it() {
        let mut rng = Rng::new(10, Stream::Data, 0, 0);
        let rewards: Vec<Vec<f64>> = (0..5)
            .map(|_| (0..400).map(|_| rng.normal()).collect())
            .collect();
        let lambdas = temperatures(&rewards);
        let found = optimal_frontier(&rewards, &lambdas);
        assert!(found.len() > 5 && found.len() < lambdas.len());
        for pair in found.windows(2) {
            assert!(pair[1].ess < pair[0].ess && pair[1].beta < pair[0].beta);
            for (a, b) in pair[0].outcomes.iter().zip(&pair[1].outcomes) {
                assert!(b.kl > a.kl && b.reward > a.reward);
            }
        }
        assert!(found.iter().all(|f| f.ess >= 50.0));
        // Too few draws show nothing, and neither do equal rewards.
        assert!(optimal_frontier(&[vec![0.0, 1.0]], &[1.0]).is_empty());
        assert!(temperatures(&[vec![0.5; 100]]).is_empty());
        assert!(temperatures(&[]).is_empty());
    }
}
