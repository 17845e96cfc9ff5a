//! What sampling yields, and what the objective makes of it.

use crate::{PerSeq, PerToken, Result, Sequences};

/// Responses drawn from the policy, with what the policy says of them. Everything but
/// `sampled_log_probs` comes from one batched pass with the kernels that train, so that the first
/// ratio of an update is exactly 1.
#[derive(Debug, Clone)]
pub struct Rollouts {
    /// The prompts and the responses drawn.
    pub sequences: Sequences,
    /// log π_old of each token, nats.
    pub log_probs: PerToken,
    /// The critic's values, where there is one.
    pub values: Option<PerToken>,
    /// The entropy of the policy at each token, nats.
    pub entropy: PerToken,
    /// log p₀ of each token, nats; of the same cut into micro-batches as `log_probs`, so that where
    /// π = p₀ their difference is exactly 0.
    pub prior_log_probs: PerToken,
    /// The exact KL(π_old ‖ p₀) at each token, nats.
    pub kl: PerToken,
    /// The log-probs recorded while drawing: a check, not π_old.
    pub sampled_log_probs: PerToken,
}

impl Rollouts {
    /// The responses of these indices, in this order, with all that is said of them.
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

/// Rollouts with the reward of the whole objective for each token.
#[derive(Debug, Clone)]
pub struct Scored {
    /// The rollouts.
    pub rollouts: Rollouts,
    /// r(x, y).
    pub scores: PerSeq,
    /// −β·(log π − log p₀) of each token, plus the score at the last one.
    pub rewards: PerToken,
    /// The β they were made with.
    pub beta: f64,
}
