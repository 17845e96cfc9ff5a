//! Rollouts: sampled responses with their log-probs, before and after rewards are computed.

use crate::{PerSeq, PerToken, Result, Sequences};

/// Responses sampled from the policy, with the outputs of the policy and the prior for them. Everything
/// but `sampled_log_probs` comes from a batched forward pass with the kernels that train, so that the
/// first importance ratio of an update is exactly 1.
#[derive(Debug, Clone)]
pub struct Rollouts {
    /// The prompts and the sampled responses.
    pub sequences: Sequences,
    /// log π_old of each token, nats.
    pub log_probs: PerToken,
    /// The critic's values, if there is a critic.
    pub values: Option<PerToken>,
    /// The entropy of the policy at each token, nats.
    pub entropy: PerToken,
    /// log p₀ of each token, nats. Computed with the same micro-batches as `log_probs`, so that their
    /// difference is exactly 0 where π = p₀.
    pub prior_log_probs: PerToken,
    /// The exact KL(π_old ‖ p₀) at each token, nats.
    pub kl: PerToken,
    /// The log-probs recorded during sampling. They are a check, not π_old.
    pub sampled_log_probs: PerToken,
}

impl Rollouts {
    /// The rollouts of these responses, in this order.
    ///
    /// # Errors
    /// If the device fails.
    ///
    /// # Panics
    /// If an index is out of range.
    pub fn select(&self, responses: &[usize]) -> Result<Self> {
        let values = self.values.as_ref();
        Ok(Self {
            sequences: self.sequences.select(responses),
            log_probs: self.log_probs.select(responses)?,
            values: values.map(|values| values.select(responses)).transpose()?,
            entropy: self.entropy.select(responses)?,
            prior_log_probs: self.prior_log_probs.select(responses)?,
            kl: self.kl.select(responses)?,
            sampled_log_probs: self.sampled_log_probs.select(responses)?,
        })
    }
}

/// Rollouts with scores and the reward of each token.
#[derive(Debug, Clone)]
pub struct Scored {
    /// The rollouts.
    pub rollouts: Rollouts,
    /// r(x, y).
    pub scores: PerSeq,
    /// −β·(log π − log p₀) of each token, plus the score at the last one.
    pub rewards: PerToken,
    /// The β they were computed with.
    pub beta: f64,
}
