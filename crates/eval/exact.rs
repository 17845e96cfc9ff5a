//! How far a policy is from the optimum, exactly, where all responses can be listed.

use crate::{Enumeration, Listing};
use rlhf_objective::{Error, Network, Prior, Prompt, Result, Reward};
use rlhf_oracle::{Outcome, Responses};
use serde::Serialize;
use std::sync::Arc;

/// How far the probabilities of all responses may sum from 1, by the rounding of f32.
const ROUNDING: f64 = 1e-3;

/// Some prompts with all responses to each, log p₀(y|x) and r(x, y).
pub struct Exact {
    prompts: Vec<(Enumeration, Responses)>,
}

/// Where a policy is, exactly: means over prompts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Standing {
    /// E_π\[r\], units of the reward.
    pub reward: f64,
    /// KL(π ‖ p₀), nats per sequence.
    pub kl: f64,
    /// The most reward any policy has at that KL.
    pub best_reward: f64,
    /// What β says of it; nothing where β moved.
    #[serde(flatten)]
    pub priced: Option<Priced>,
}

/// How far a policy is from the optimum at one β.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Priced {
    /// β, units of the reward per nat.
    pub beta: f64,
    /// J = E\[r\] − β·KL, units of the reward.
    pub elbo: f64,
    /// β·log Z − J, units of the reward.
    pub gap: f64,
    /// KL(π ‖ π*) = gap/β, nats.
    pub kl_to_optimum: f64,
    /// The share of the gap at the prior (at the start of the run where the prior is no
    /// distribution) that is closed.
    pub closed: f64,
}

impl Exact {
    /// Lists the responses to each prompt; the networks read `batch` of them at once.
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
            return Err(Error::Empty("there is no prompt to measure on".into()));
        }
        let mut solved = Vec::with_capacity(prompts.len());
        for prompt in prompts {
            let all = Enumeration::every(prompt, listing, batch)?;
            let problem = all.problem(prior, reward)?;
            solved.push((all, problem));
        }
        Ok(Self { prompts: solved })
    }

    fn mean(&self, of: impl FnMut(&Responses) -> Outcome) -> Outcome {
        let problems = self.prompts.iter().map(|(_, problem)| problem);
        let outcomes: Vec<Outcome> = problems.map(of).collect();
        Outcome::mean(&outcomes).expect("there is a prompt")
    }

    /// The prior as a policy; `None` where it is no distribution over responses.
    #[must_use]
    pub fn prior(&self) -> Option<Outcome> {
        let distribution = |log_probs: &[f64]| (total(log_probs) - 1.0).abs() < ROUNDING;
        let mut all = self.prompts.iter();
        all.all(|(_, problem)| distribution(problem.log_prior()))
            .then(|| self.mean(|problem| problem.evaluate(problem.log_prior())))
    }

    /// π* at β.
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

    /// The most reward that a policy with this mean KL has: the frontier of all prompts together,
    /// at one price for all of them, found by bisection in log β.
    #[must_use]
    pub fn best_reward(&self, kl: f64) -> f64 {
        let (mut low, mut high) = (1e-6f64.ln(), 1e6f64.ln());
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            match self.optimum(middle.exp()).kl > kl {
                true => low = middle,
                false => high = middle,
            }
        }
        self.optimum(high.exp()).reward
    }

    /// E\[r\] and KL of a policy.
    ///
    /// # Errors
    /// If it cannot read a response, or gives those listed less than all its weight.
    pub fn measure(&self, policy: &mut dyn Network) -> Result<Outcome> {
        let mut outcomes = Vec::with_capacity(self.prompts.len());
        for (index, (all, problem)) in self.prompts.iter().enumerate() {
            let log_probs = all.log_probs(policy)?;
            let total = total(&log_probs);
            if (total - 1.0).abs() > ROUNDING {
                return Err(Error::Unsupported(format!(
                    "the responses listed for prompt {index} have probability {total} under the \
                     policy, not 1: it can say others too"
                )));
            }
            outcomes.push(problem.evaluate(&log_probs));
        }
        Ok(Outcome::mean(&outcomes).expect("there is a prompt"))
    }

    /// What an outcome is worth: against the frontier and, at a fixed β, against the optimum, of
    /// which the gap at `start` is still to be closed.
    #[must_use]
    pub fn standing(&self, outcome: Outcome, start: Outcome, beta: Option<f64>) -> Standing {
        let priced = |beta: f64| {
            let value = self.value(beta);
            let gap = value - outcome.elbo(beta);
            Priced {
                beta,
                elbo: outcome.elbo(beta),
                gap,
                kl_to_optimum: gap / beta,
                closed: 1.0 - gap / (value - start.elbo(beta)),
            }
        };
        Standing {
            reward: outcome.reward,
            kl: outcome.kl,
            best_reward: self.best_reward(outcome.kl),
            priced: beta.map(priced),
        }
    }
}

fn total(log_probs: &[f64]) -> f64 {
    log_probs.iter().map(|x| x.exp()).sum()
}
