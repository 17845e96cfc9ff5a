//! Exact evaluation of policies.

use crate::backup::weighted;
use crate::{Policy, Problem, Solution};
use serde::Serialize;

/// The exact reward, KL, entropy, J and length of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Evaluation {
    /// E_π\[r\], in units of the reward.
    pub expected_reward: f64,
    /// KL(π ‖ p₀), nats per response; −H(π) under the counting prior.
    pub kl: f64,
    /// H(π), nats per response.
    pub entropy: f64,
    /// J = E\[r\] − β·KL, in units of the reward.
    pub elbo: f64,
    /// E\[L\], tokens per response, including the eos.
    pub length: f64,
}

/// β·log Z − J(π) = β·KL(π ‖ π*), in units of the reward, computed three ways that share no
/// intermediate result.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gap {
    /// V at the root minus J(π).
    pub from_elbo: f64,
    /// β·Σ_y π(y)·log(π(y)/π*(y)), over responses.
    pub from_responses: f64,
    /// β·Σ_s d(s)·KL(π(·|s) ‖ π*(·|s)), over the prefixes that π visits.
    pub from_prefixes: f64,
}

impl Problem {
    /// Evaluates a policy by enumerating its responses.
    #[must_use]
    pub fn evaluate(&self, policy: &Policy) -> Evaluation {
        let (_, log_probs) = policy.log_probs(&self.tree);
        let (_, log_prior) = self.prior.log_probs(&self.tree);
        let mean = |value: &dyn Fn(usize) -> f64| -> f64 {
            log_probs
                .iter()
                .enumerate()
                .map(|(y, &log_prob)| weighted(log_prob, value(y)))
                .sum()
        };
        let expected_reward = mean(&|y| self.rewards[y]);
        let kl = mean(&|y| log_probs[y] - log_prior[y]);
        Evaluation {
            expected_reward,
            kl,
            entropy: -mean(&|y| log_probs[y]),
            elbo: expected_reward - self.beta * kl,
            length: mean(&|y| self.tree.responses()[y].len() as f64),
        }
    }

    /// The difference of J between the optimum and a policy.
    #[must_use]
    pub fn gap(&self, policy: &Policy, solution: &Solution) -> Gap {
        let (prefixes, responses) = policy.log_probs(&self.tree);
        let (_, optimal) = solution.policy.log_probs(&self.tree);
        let kl = |p: &[f64], q: &[f64]| -> f64 {
            p.iter().zip(q).map(|(&p, q)| weighted(p, p - q)).sum()
        };
        let by_prefix = |(node, &log_prob): (usize, &f64)| {
            weighted(log_prob, kl(policy.row(node), solution.policy.row(node)))
        };
        Gap {
            from_elbo: solution.value() - self.evaluate(policy).elbo,
            from_responses: self.beta * kl(&responses, &optimal),
            from_prefixes: self.beta * prefixes.iter().enumerate().map(by_prefix).sum::<f64>(),
        }
    }

    /// KL(π(·|s) ‖ p₀(·|s)) at each incomplete prefix, nats. Its sum over the prefixes of a response
    /// is the Rao–Blackwellized estimator of the sequence KL (Amini et al. 2025).
    #[must_use]
    pub fn kl_by_prefix(&self, policy: &Policy) -> Vec<f64> {
        (0..self.tree.prefixes().len())
            .map(|node| {
                let pair = policy.row(node).iter().zip(self.prior.row(node));
                pair.map(|(&log_pi, log_p)| weighted(log_pi, log_pi - log_p))
                    .sum()
            })
            .collect()
    }
}
