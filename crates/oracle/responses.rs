//! The bandit form of the problem: whole responses are the actions.

use crate::backup::weighted;
use crate::{Error, Result, soft_backup};
use serde::Serialize;

/// All responses to one prompt, with log p₀(y|x), nats, and r(x, y) of each. They may come from a tree
/// or from a network whose responses can be enumerated.
#[derive(Debug, Clone, PartialEq)]
pub struct Responses {
    log_prior: Vec<f64>,
    rewards: Vec<f64>,
}

/// The reward and the KL of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Outcome {
    /// E_π\[r\], in units of the reward.
    pub reward: f64,
    /// KL(π ‖ p₀), nats per response.
    pub kl: f64,
}

/// The optimum at one β.
#[derive(Debug, Clone, PartialEq)]
pub struct Optimum {
    /// β, in units of the reward per nat: also the slope of the frontier there.
    pub beta: f64,
    /// log Z, nats.
    pub log_z: f64,
    /// The reward and KL of π*.
    pub outcome: Outcome,
    /// log π*(y|x) of each response, nats.
    pub log_policy: Vec<f64>,
}

impl Outcome {
    /// J = E\[r\] − β·KL, in units of the reward.
    #[must_use]
    pub fn elbo(&self, beta: f64) -> f64 {
        self.reward - beta * self.kl
    }

    /// The mean over prompts; `None` if there is none.
    #[must_use]
    pub fn mean(outcomes: &[Self]) -> Option<Self> {
        let n = outcomes.len() as f64;
        (!outcomes.is_empty()).then(|| Self {
            reward: outcomes.iter().map(|outcome| outcome.reward).sum::<f64>() / n,
            kl: outcomes.iter().map(|outcome| outcome.kl).sum::<f64>() / n,
        })
    }
}

impl Responses {
    /// A problem from log p₀(y) and r(y) of every response. The prior's weights need not sum to 1.
    ///
    /// # Errors
    /// If there is no response of positive weight, the lengths differ, a log-weight is NaN or +∞,
    /// or a reward is not finite.
    pub fn new(log_prior: Vec<f64>, rewards: Vec<f64>) -> Result<Self> {
        if log_prior.len() != rewards.len() {
            let what = format!(
                "{} rewards for {} responses",
                rewards.len(),
                log_prior.len()
            );
            return Err(Error::at("rewards", what));
        }
        let error = |y: usize, what: &str| Err(Error::at(format!("response {y}"), what));
        if let Some(y) = log_prior
            .iter()
            .position(|x| x.is_nan() || *x == f64::INFINITY)
        {
            return error(
                y,
                "the prior log-prob is NaN or infinity; it must be finite or -infinity",
            );
        }
        if let Some(y) = rewards.iter().position(|reward| !reward.is_finite()) {
            return error(y, "the reward is not finite");
        }
        if log_prior.iter().all(|&x| x == f64::NEG_INFINITY) {
            return Err(Error::at("prior", "no response has a positive weight"));
        }
        Ok(Self { log_prior, rewards })
    }

    /// log p₀(y) of each response, nats.
    #[must_use]
    pub fn log_prior(&self) -> &[f64] {
        &self.log_prior
    }

    /// r(y) of each response.
    #[must_use]
    pub fn rewards(&self) -> &[f64] {
        &self.rewards
    }

    /// π* = p₀·exp(r/β)/Z, with its reward, KL and log Z.
    ///
    /// # Panics
    /// If β is not positive.
    #[must_use]
    pub fn optimum(&self, beta: f64) -> Optimum {
        let backup = soft_backup(&self.rewards, &self.log_prior, beta);
        Optimum {
            beta,
            log_z: backup.value / beta,
            outcome: self.evaluate(&backup.log_policy),
            log_policy: backup.log_policy,
        }
    }

    /// The reward and KL of a policy given as log π(y) of each response.
    ///
    /// # Panics
    /// If the number of log-probs is not that of the responses.
    #[must_use]
    pub fn evaluate(&self, log_policy: &[f64]) -> Outcome {
        assert_eq!(
            log_policy.len(),
            self.rewards.len(),
            "one log-prob per response"
        );
        let mean = |value: &dyn Fn(usize) -> f64| -> f64 {
            let terms = log_policy.iter().enumerate();
            terms.map(|(y, &log_pi)| weighted(log_pi, value(y))).sum()
        };
        Outcome {
            reward: mean(&|y| self.rewards[y]),
            kl: mean(&|y| log_policy[y] - self.log_prior[y]),
        }
    }

    /// The optimum whose KL is `kl` nats, by bisection over log β: it has the greatest reward of all
    /// policies with at most this KL. Where `kl` exceeds −log p₀(argmax r), the optimum at the smallest
    /// β, 1e-6, is returned.
    #[must_use]
    pub fn optimum_at_kl(&self, kl: f64) -> Optimum {
        let (mut low, mut high) = (1e-6f64.ln(), 1e6f64.ln());
        for _ in 0..200 {
            let middle = 0.5 * (low + high);
            if self.optimum(middle.exp()).outcome.kl > kl {
                low = middle;
            } else {
                high = middle;
            }
        }
        self.optimum(high.exp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference_tree;
    use crate::testing::{SplitMix, close};

    #[test]
    fn token_and_response_problems_have_the_same_optimum() {
        let mut random = SplitMix(3);
        for _ in 0..100 {
            let problem = random.problem();
            let (solution, optimum) =
                (problem.solve(), problem.responses().optimum(problem.beta()));
            close(
                solution.log_z(),
                optimum.log_z,
                1e-10 * (1.0 + optimum.log_z.abs()),
            );
            let measured = problem.evaluate(&solution.policy);
            close(measured.expected_reward, optimum.outcome.reward, 1e-9);
            close(measured.kl, optimum.outcome.kl, 1e-9);
        }
    }

    #[test]
    fn slope_of_the_frontier_is_beta() {
        let responses = reference_tree(0.5).responses();
        let (a, b) = (responses.optimum(0.499), responses.optimum(0.501));
        let slope = (a.outcome.reward - b.outcome.reward) / (a.outcome.kl - b.outcome.kl);
        close(slope, 0.5, 1e-5);
        // dV/dβ = −KL*.
        let value = |beta: f64| responses.optimum(beta).log_z * beta;
        close((value(0.5001) - value(0.4999)) / 2e-4, -1.54675939, 1e-6);
    }

    #[test]
    fn effective_sample_size_of_importance_weights_matches_reference_values() {
        // E[w]²/E[w²] with w = exp(λr) under the prior; its logarithm is 2K(λ) − K(2λ).
        let responses = reference_tree(0.5).responses();
        let k = |lambda: f64| responses.optimum(1.0 / lambda).log_z;
        for (lambda, share) in [(1.0, 0.44269699), (2.0, 0.11431504), (4.0, 0.05232875)] {
            close((2.0 * k(lambda) - k(2.0 * lambda)).exp(), share, 1e-8);
        }
        // It equals 1/(1 + χ²(π* ‖ p₀)).
        close((k(4.0) - 2.0 * k(2.0)).exp() - 1.0, 7.74775549, 1e-7);
    }

    #[test]
    fn prompts_are_solved_separately_and_averaged() {
        let prompt = |p: f64| Responses::new(vec![(1.0 - p).ln(), p.ln()], vec![0.0, 1.0]).unwrap();
        let prompts = [prompt(0.9), prompt(0.1)];
        let outcomes: Vec<Outcome> = prompts.iter().map(|x| x.optimum(0.5).outcome).collect();
        let mean = Outcome::mean(&outcomes).unwrap();
        close(mean.reward, 0.71801929, 1e-8);
        close(mean.kl, 0.23424182, 1e-8);
        let log_z = |x: &Responses| x.optimum(0.5).log_z;
        let mean_log_z = prompts.iter().map(log_z).sum::<f64>() / 2.0;
        close(mean_log_z, 1.20179675, 1e-8);
        close(log_z(&prompt(0.5)), 1.43378083, 1e-8);
        // Pooling the prompts has a different optimum, because it includes the choice of the prompt.
        let pooled = prompt(0.5).optimum(0.5).outcome;
        close(pooled.reward, 0.88079708, 1e-8);
        close(pooled.kl, 0.32781333, 1e-8);
    }

    #[test]
    fn independent_letters_match_the_closed_form() {
        // 3⁶ responses of six independent letters, with probability q of letter 2; the reward is the
        // share of letter 2. At the optimum q·e^(1/6β) replaces q, up to normalization.
        let (q, beta) = (0.37f64, 0.1);
        let letters = [0.4 * (1.0 - q), 0.6 * (1.0 - q), q];
        let (mut log_prior, mut rewards) = (Vec::new(), Vec::new());
        for response in 0..3usize.pow(6) {
            let digits: Vec<usize> = (0..6).map(|i| response / 3usize.pow(i) % 3).collect();
            log_prior.push(digits.iter().map(|&d| letters[d].ln()).sum());
            rewards.push(digits.iter().filter(|&&d| d == 2).count() as f64 / 6.0);
        }
        let responses = Responses::new(log_prior, rewards).unwrap();
        let optimum = responses.optimum(beta);
        let tilted = q * (1.0 / (6.0 * beta)).exp();
        let per_letter = (1.0 - q + tilted).ln();
        close(optimum.log_z, 6.0 * per_letter, 1e-12);
        close(optimum.outcome.reward, tilted / (1.0 - q + tilted), 1e-12);
        close(optimum.outcome.elbo(beta), beta * optimum.log_z, 1e-12);
        close(responses.evaluate(responses.log_prior()).reward, q, 1e-12);
    }

    #[test]
    fn invalid_log_priors_and_rewards_are_errors() {
        let zero = f64::NEG_INFINITY;
        assert!(Responses::new(vec![0.0], vec![]).is_err());
        assert!(Responses::new(vec![zero], vec![1.0]).is_err());
        let error = Responses::new(vec![0.0, f64::NAN], vec![1.0, 1.0]).unwrap_err();
        assert!(error.to_string().contains("response 1"), "{error}");
        let error = Responses::new(vec![0.0], vec![f64::INFINITY]).unwrap_err();
        assert!(error.to_string().contains("response 0"), "{error}");
    }
}
