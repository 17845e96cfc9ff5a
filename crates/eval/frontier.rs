//! Estimates the frontier, the greatest reward of any policy at its KL, from samples of the prior.

use crate::{Bootstrap, PriorRewards};
use rlhf_journal::{FrontierPoint, Point};
use rlhf_oracle::{Outcome, Responses};

/// The least effective sample size of an estimate.
const MIN_ESS: f64 = 50.0;

/// An estimate from N samples is used only where its KL is at most log N minus this, nats.
const KL_MARGIN: f64 = 3.0;

/// An estimate of the optimum at one β.
#[derive(Debug, Clone, PartialEq)]
pub struct FrontierEstimate {
    /// β = 1/λ, units of the reward per nat.
    pub beta: f64,
    /// E\[r\] and KL of π* for each prompt.
    pub outcomes: Vec<Outcome>,
    /// log Ẑ of each prompt, nats; its bias is about −χ²/2N.
    pub log_z: Vec<f64>,
    /// The least effective sample size 1/Σw² of all prompts.
    pub ess: f64,
}

/// Estimates the frontier at increasing `lambdas`, from the rewards of N samples of the prior for each
/// prompt. With K(λ) = log E_p₀[exp(λr)], the optimum at λ = 1/β has E\[r\] = K′(λ) and
/// KL = λK′(λ) − K(λ); both are estimated by importance weights ∝ exp(λr), **separately for each
/// prompt**, because a policy cannot choose its prompts. The curve ends at the first λ where the
/// effective sample size of a prompt is below 50 or its KL above log N − 3: beyond that the estimate
/// is unreliable.
///
/// # Panics
/// If a prompt has no rewards, a reward is not finite, or a λ is not positive.
#[must_use]
pub fn optimal_frontier(rewards: &[Vec<f64>], lambdas: &[f64]) -> Vec<FrontierEstimate> {
    if rewards.is_empty() {
        return Vec::new();
    }
    let prompts: Vec<Responses> = rewards.iter().map(|r| empirical(r)).collect();
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
            let sample_count = prompt.rewards().len() as f64;
            if ess < MIN_ESS || optimum.outcome.kl > sample_count.ln() - KL_MARGIN {
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

/// A grid of 70 values of λ = 1/β, from an optimum close to the prior to beyond what samples can
/// estimate: 0.02/σ·2^(i/4), with σ the standard deviation of the reward within prompts. Empty where all
/// rewards of each prompt are equal.
#[must_use]
pub fn lambda_grid(rewards: &[Vec<f64>]) -> Vec<f64> {
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

/// The estimated frontier as points with intervals over prompts.
#[must_use]
pub fn optimal_points(
    label: &str,
    prior_rewards: &PriorRewards,
    bootstrap: &Bootstrap,
) -> Vec<FrontierPoint> {
    optimal_frontier(&prior_rewards.rewards, &lambda_grid(&prior_rewards.rewards))
        .iter()
        .map(|estimate| {
            let beta = estimate.beta;
            let outcome = |rewards: &[f64]| empirical(rewards).optimum(beta).outcome;
            let kind = (label, Point::Optimal { beta });
            prior_rewards.point(kind, &estimate.outcomes, &outcome, bootstrap)
        })
        .collect()
}

/// The empirical distribution of sampled rewards.
pub(crate) fn empirical(rewards: &[f64]) -> Responses {
    let log_probability = -(rewards.len() as f64).ln();
    Responses::new(vec![log_probability; rewards.len()], rewards.to_vec())
        .expect("at least one reward, all finite")
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
    fn prompts_are_solved_separately() {
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
    fn uniform_rewards_match_the_closed_form() {
        let mut rng = Rng::new(9, Stream::Data, 0, 0);
        let rewards = vec![(0..100_000).map(|_| rng.uniform()).collect::<Vec<f64>>()];
        let lambdas = [1.0, 2.0, 4.0, 10.0];
        let found = optimal_frontier(&rewards, &lambdas);
        assert_eq!(found.len(), 4);
        for (estimate, lambda) in found.iter().zip(lambdas) {
            let exact = quantile_optimum(lambda);
            // Four standard errors of a weighted mean at this effective sample size.
            let error = 4.0 * 0.29 / estimate.ess.sqrt();
            close(estimate.outcomes[0].reward, exact.reward, error);
            close(estimate.outcomes[0].kl, exact.kl, lambda * error);
            close(estimate.log_z[0], exact.log_z, lambda * error);
        }
    }

    #[test]
    fn the_curve_ends_where_the_effective_sample_size_is_too_small() {
        let mut rng = Rng::new(10, Stream::Data, 0, 0);
        let rewards: Vec<Vec<f64>> = (0..5)
            .map(|_| (0..400).map(|_| rng.normal()).collect())
            .collect();
        let lambdas = lambda_grid(&rewards);
        let found = optimal_frontier(&rewards, &lambdas);
        assert!(found.len() > 5 && found.len() < lambdas.len());
        for pair in found.windows(2) {
            assert!(pair[1].ess < pair[0].ess && pair[1].beta < pair[0].beta);
            for (a, b) in pair[0].outcomes.iter().zip(&pair[1].outcomes) {
                assert!(b.kl > a.kl && b.reward > a.reward);
            }
        }
        assert!(found.iter().all(|f| f.ess >= 50.0));
        // Too few samples, or equal rewards, give an empty curve.
        assert!(optimal_frontier(&[vec![0.0, 1.0]], &[1.0]).is_empty());
        assert!(lambda_grid(&[vec![0.5; 100]]).is_empty());
        assert!(lambda_grid(&[]).is_empty());
    }
}
