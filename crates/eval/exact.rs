//! Exact evaluation of policies against the optimum, where all responses can be enumerated.

use crate::{Enumeration, Listing};
use rlhf_objective::{Error, Network, Prior, Prompt, Result, Reward};
use rlhf_oracle::{Outcome, Responses};
use serde::Serialize;
use std::sync::Arc;

/// The tolerance on the sum of all response probabilities, for f32 rounding.
const SUM_TOLERANCE: f64 = 1e-3;

/// Prompts with all responses to each, and their log p₀(y|x) and r(x, y).
pub struct Exact {
    prompts: Vec<(Enumeration, Responses)>,
}

/// The exact evaluation of a policy: means over prompts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ExactEvaluation {
    /// E_π\[r\], units of the reward.
    pub reward: f64,
    /// KL(π ‖ p₀), nats per sequence.
    pub kl: f64,
    /// The greatest reward of any policy at that KL.
    pub best_reward: f64,
    /// The gap to the optimum at the run's β; `None` where β is adaptive.
    #[serde(flatten)]
    pub gap: Option<GapToOptimum>,
}

/// The gap between a policy and the optimum at one β.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct GapToOptimum {
    /// β, units of the reward per nat.
    pub beta: f64,
    /// J = E\[r\] − β·KL, units of the reward.
    pub elbo: f64,
    /// β·log Z − J, units of the reward.
    pub gap: f64,
    /// KL(π ‖ π*) = gap/β, nats.
    pub kl_to_optimum: f64,
    /// 1 − gap / gap of the prior; where the prior is not normalized, the gap at the start of the
    /// run is used.
    pub closed: f64,
}

impl Exact {
    /// Enumerates the responses to each prompt, with forward passes of `batch` responses.
    ///
    /// # Errors
    /// If the prior or the reward fails on one of them.
    pub fn new(
        prompts: &[Arc<Prompt>],
        listing: &Listing<'_>,
        prior: &mut dyn Prior,
        reward: &mut dyn Reward,
        batch: usize,
    ) -> Result<Self> {
        if prompts.is_empty() {
            return Err(Error::Empty("there are no prompts to evaluate on".into()));
        }
        let mut enumerated = Vec::with_capacity(prompts.len());
        for prompt in prompts {
            let responses = Enumeration::of_listing(prompt, listing, batch)?;
            let problem = responses.problem(prior, reward)?;
            enumerated.push((responses, problem));
        }
        Ok(Self {
            prompts: enumerated,
        })
    }

    fn mean(&self, outcome: impl FnMut(&Responses) -> Outcome) -> Outcome {
        let problems = self.prompts.iter().map(|(_, problem)| problem);
        let outcomes: Vec<Outcome> = problems.map(outcome).collect();
        Outcome::mean(&outcomes).expect("there is at least one prompt")
    }

    /// The outcome of the prior as a policy; `None` where it is not normalized over responses.
    #[must_use]
    pub fn prior(&self) -> Option<Outcome> {
        let is_normalized = |log_probs: &[f64]| (total(log_probs) - 1.0).abs() < SUM_TOLERANCE;
        let mut all = self.prompts.iter();
        all.all(|(_, problem)| is_normalized(problem.log_prior()))
            .then(|| self.mean(|problem| problem.evaluate(problem.log_prior())))
    }

    /// The outcome of π* at β.
    ///
    /// # Panics
    /// If β is not positive.
    #[must_use]
    pub fn optimum(&self, beta: f64) -> Outcome {
        self.mean(|problem| problem.optimum(beta).outcome)
    }

    /// The mean over prompts of β·log Z, units of the reward.
    ///
    /// # Panics
    /// If β is not positive.
    #[must_use]
    pub fn value(&self, beta: f64) -> f64 {
        let values = self.prompts.iter();
        let values = values.map(|(_, problem)| beta * problem.optimum(beta).log_z);
        values.sum::<f64>() / self.prompts.len() as f64
    }

    /// The greatest mean reward of a policy with this mean KL: the frontier over all prompts, with
    /// one β for all of them, found by bisection over log β.
    #[must_use]
    pub fn best_reward(&self, kl: f64) -> f64 {
        let (mut low, mut high) = (1e-6f64.ln(), 1e6f64.ln());
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if self.optimum(middle.exp()).kl > kl {
                low = middle;
            } else {
                high = middle;
            }
        }
        self.optimum(high.exp()).reward
    }

    /// E\[r\] and KL of a policy.
    ///
    /// # Errors
    /// If a forward pass fails, or the probabilities of the enumerated responses do not sum to 1.
    pub fn measure(&self, policy: &mut dyn Network) -> Result<Outcome> {
        let mut outcomes = Vec::with_capacity(self.prompts.len());
        for (index, (responses, problem)) in self.prompts.iter().enumerate() {
            let log_probs = responses.log_probs(policy)?;
            let total = total(&log_probs);
            if (total - 1.0).abs() > SUM_TOLERANCE {
                return Err(Error::Unsupported(format!(
                    "the enumerated responses to prompt {index} have total probability {total} under \
                    the policy, not 1: the policy can generate other responses too"
                )));
            }
            outcomes.push(problem.evaluate(&log_probs));
        }
        Ok(Outcome::mean(&outcomes).expect("there is at least one prompt"))
    }

    /// Compares an outcome with the frontier and, at a fixed β, with the optimum; `closed` is
    /// relative to the gap of `start`.
    #[must_use]
    pub fn compare(&self, outcome: Outcome, start: Outcome, beta: Option<f64>) -> ExactEvaluation {
        let gap_at = |beta: f64| {
            let value = self.value(beta);
            let gap = value - outcome.elbo(beta);
            GapToOptimum {
                beta,
                elbo: outcome.elbo(beta),
                gap,
                kl_to_optimum: gap / beta,
                closed: 1.0 - gap / (value - start.elbo(beta)),
            }
        };
        ExactEvaluation {
            reward: outcome.reward,
            kl: outcome.kl,
            best_reward: self.best_reward(outcome.kl),
            gap: beta.map(gap_at),
        }
    }
}

fn total(log_probs: &[f64]) -> f64 {
    log_probs.iter().map(|x| x.exp()).sum()
}
