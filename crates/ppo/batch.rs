//! A mini-batch: what the old policy and its critic said, and what came of it.

use crate::{Advantages, Config, explained_variance, gae, whiten};
use rlhf_objective::{Error, PerToken, Result, Scored, Sequences};

/// Rollouts with advantages and returns, and the weight of each token in the loss.
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
    /// Of the old values on the whole rollout.
    pub(crate) explained_variance: Option<f64>,
}

impl Batch {
    /// The whole of a rollout. Returns come first, then the advantages are whitened over all its
    /// tokens; each of the N tokens weighs 1/N.
    ///
    /// # Errors
    /// If there is no response, or there are no values.
    pub fn new(scored: Scored, config: &Config) -> Result<Self> {
        let rollouts = scored.rollouts;
        if rollouts.sequences.is_empty() {
            return Err(Error::Empty("there are no rollouts".into()));
        }
        let Some(old_values) = rollouts.values else {
            return Err(Error::Unsupported(
                "ppo needs values of the rollouts: give the policy a critic".into(),
            ));
        };
        let wide = |of: &PerToken| -> Result<Vec<f64>> {
            Ok(of.to_vec()?.into_iter().map(f64::from).collect())
        };
        let (rewards, values) = (wide(&scored.rewards)?, wide(&old_values)?);
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
        let narrow = |numbers: Vec<f64>| {
            let numbers = numbers.into_iter().map(|x| x as f32).collect();
            PerToken::from_vec(numbers, old_values.offsets())
        };
        Ok(Self {
            weight: 1.0 / rollouts.sequences.tokens() as f64,
            sequences: rollouts.sequences,
            old_log_probs: rollouts.log_probs,
            advantages: narrow(advantages)?,
            returns: narrow(returns)?,
            old_values,
            explained_variance,
        })
    }

    /// The advantage of each token.
    #[must_use]
    pub fn advantages(&self) -> &PerToken {
        &self.advantages
    }

    /// The return of each token, in units of the reward: what its value should be.
    #[must_use]
    pub fn returns(&self) -> &PerToken {
        &self.returns
    }

    /// Some of the responses, at the weight they have here.
    pub(crate) fn part(&self, responses: &[usize]) -> Result<Self> {
        Ok(Self {
            sequences: self.sequences.select(responses),
            old_log_probs: self.old_log_probs.select(responses)?,
            old_values: self.old_values.select(responses)?,
            advantages: self.advantages.select(responses)?,
            returns: self.returns.select(responses)?,
            ..*self
        })
    }

    /// Some of the responses as a batch of its own: its tokens' weights sum to 1.
    pub(crate) fn minibatch(&self, responses: &[usize]) -> Result<Self> {
        let part = self.part(responses)?;
        Ok(Self {
            weight: 1.0 / part.sequences.tokens() as f64,
            ..part
        })
    }
}
