//! A batch of PPO: rollouts with old log-probs, old values, advantages and returns.

use crate::{Advantages, Config, explained_variance, gae, whiten};
use rlhf_objective::{Error, PerToken, Result, Scored, Sequences};

/// Rollouts with advantages, returns, and the weight of each token in the loss.
#[derive(Debug, Clone)]
pub struct Batch {
    pub(crate) sequences: Sequences,
    /// log π_old, nats.
    pub(crate) old_log_probs: PerToken,
    /// The critic's values before the update, in units of the reward.
    pub(crate) old_values: PerToken,
    pub(crate) advantages: PerToken,
    pub(crate) returns: PerToken,
    pub(crate) weight: f64,
    /// The explained variance of the old values over all rollouts of the iteration.
    pub(crate) explained_variance: Option<f64>,
}

impl Batch {
    /// A batch of all rollouts of an iteration. Returns are computed before the advantages are
    /// whitened over all tokens; each of the N tokens has weight 1/N.
    ///
    /// # Errors
    /// If there are no responses or no values.
    pub fn new(scored: Scored, config: &Config) -> Result<Self> {
        let rollouts = scored.rollouts;
        if rollouts.sequences.is_empty() {
            return Err(Error::Empty("there are no rollouts".into()));
        }
        let Some(old_values) = rollouts.values else {
            return Err(Error::Unsupported(
                "ppo needs the values of the rollouts: sample with a critic".into(),
            ));
        };
        let to_f64 = |values: &PerToken| -> Result<Vec<f64>> {
            Ok(values.to_vec()?.into_iter().map(f64::from).collect())
        };
        let (rewards, values) = (to_f64(&scored.rewards)?, to_f64(&old_values)?);
        let mut advantages = Vec::with_capacity(values.len());
        for sequence in 0..old_values.sequences() {
            let tokens = old_values.range(sequence);
            let (r, v) = (&rewards[tokens.clone()], &values[tokens]);
            advantages.extend(gae(r, v, config.gamma, config.lambda));
        }
        let returns: Vec<f64> = advantages.iter().zip(&values).map(|(a, v)| a + v).collect();
        let explained_variance = explained_variance(&returns, &values);
        match config.advantages {
            Advantages::Whitened => whiten(&mut advantages),
            Advantages::Raw => {}
        }
        let per_token = |values: Vec<f64>| {
            let values = values.into_iter().map(|x| x as f32).collect();
            PerToken::from_vec(values, old_values.offsets())
        };
        Ok(Self {
            weight: 1.0 / rollouts.sequences.tokens() as f64,
            sequences: rollouts.sequences,
            old_log_probs: rollouts.log_probs,
            advantages: per_token(advantages)?,
            returns: per_token(returns)?,
            old_values,
            explained_variance,
        })
    }

    /// The advantage of each token.
    #[must_use]
    pub fn advantages(&self) -> &PerToken {
        &self.advantages
    }

    /// The return of each token, in units of the reward: the target of its value.
    #[must_use]
    pub fn returns(&self) -> &PerToken {
        &self.returns
    }

    /// A subset of the responses, with their weight unchanged: a micro-batch.
    pub(crate) fn subset(&self, responses: &[usize]) -> Result<Self> {
        Ok(Self {
            sequences: self.sequences.select(responses),
            old_log_probs: self.old_log_probs.select(responses)?,
            old_values: self.old_values.select(responses)?,
            advantages: self.advantages.select(responses)?,
            returns: self.returns.select(responses)?,
            ..*self
        })
    }

    /// A subset of the responses for one optimizer step: the weights of its tokens sum to 1.
    pub(crate) fn minibatch(&self, responses: &[usize]) -> Result<Self> {
        let subset = self.subset(responses)?;
        Ok(Self {
            weight: 1.0 / subset.sequences.tokens() as f64,
            ..subset
        })
    }
}
