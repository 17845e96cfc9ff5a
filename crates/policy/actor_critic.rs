//! A policy and its critic as one network.

use rlhf_lm::Model;
use rlhf_objective::{
    ActionValues, Decoder, LogDist, Network, OutputGrads, Outputs, Result, RowGradients, Sequences,
    Want,
};
use rlhf_tensor::Parameters;
use std::ops::Range;
use std::path::Path;

/// A policy with or without a critic: outputs are merged and gradients split, so that a loss does
/// not know which of the three it trains.
pub struct ActorCritic {
    policy: Box<dyn Model>,
    critic: Option<Box<dyn Model>>,
    /// Whether the policy was given gradients of whole rows that it has not carried down yet.
    rows_came_back: bool,
}

impl ActorCritic {
    /// A policy alone, or with the value head that it brings
    /// ([`Heads::LanguageAndValue`](rlhf_lm::Heads)).
    #[must_use]
    pub fn new(policy: Box<dyn Model>) -> Self {
        Self {
            policy,
            critic: None,
            rows_came_back: false,
        }
    }

    /// A policy with a separate network for its values ([`Heads::Value`](rlhf_lm::Heads)); a value
    /// head of the policy itself is not asked.
    #[must_use]
    pub fn with_critic(policy: Box<dyn Model>, critic: Box<dyn Model>) -> Self {
        Self {
            policy,
            critic: Some(critic),
            rows_came_back: false,
        }
    }

    /// The end-of-sequence token of the policy, if it has one.
    #[must_use]
    pub fn eos(&self) -> Option<u32> {
        self.policy.eos()
    }

    /// The longest prompt and response together, in tokens; a separate critic must fit too.
    #[must_use]
    pub fn context(&self) -> usize {
        let critic = self.critic.as_ref().map(|critic| critic.context());
        self.policy.context().min(critic.unwrap_or(usize::MAX))
    }

    /// Writes the policy to `folder` in Hugging Face layout, and a separate critic to
    /// `folder/critic`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(&self, folder: &Path) -> rlhf_lm::Result<()> {
        self.policy.save(folder)?;
        match &self.critic {
            Some(critic) => critic.save(&folder.join("critic")),
            None => Ok(()),
        }
    }
}

impl Network for ActorCritic {
    fn vocab(&self) -> usize {
        self.policy.vocab()
    }

    fn read(&mut self, sequences: &Sequences, want: Want) -> Result<Outputs> {
        self.rows_came_back = false;
        let outputs = self.policy.read(sequences, want)?;
        let Some(critic) = &mut self.critic else {
            return Ok(outputs);
        };
        let only_values = Want {
            entropy: false,
            ..want
        };
        let values = critic.read(sequences, only_values)?.values;
        Ok(Outputs { values, ..outputs })
    }

    fn log_dist(&mut self, rows: Range<usize>) -> Result<LogDist<'_>> {
        self.policy.log_dist(rows)
    }

    fn action_values(&mut self, rows: Range<usize>) -> Result<ActionValues<'_>> {
        self.policy.action_values(rows)
    }

    fn backward_rows(&mut self, rows: Range<usize>, gradients: &RowGradients) -> Result<()> {
        self.policy.backward_rows(rows, gradients)?;
        self.rows_came_back = true;
        Ok(())
    }

    fn backward(&mut self, gradients: &OutputGrads) -> Result<()> {
        let of_rows = std::mem::take(&mut self.rows_came_back);
        let Some(critic) = &mut self.critic else {
            return self.policy.backward(gradients);
        };
        let OutputGrads {
            log_probs,
            entropy,
            values,
            scores,
        } = gradients.clone();
        if of_rows || log_probs.is_some() || entropy.is_some() || scores.is_some() {
            self.policy.backward(&OutputGrads {
                log_probs,
                entropy,
                values: None,
                scores,
            })?;
        }
        if values.is_some() {
            critic.backward(&OutputGrads {
                values,
                ..OutputGrads::default()
            })?;
        }
        Ok(())
    }

    fn decoder(&mut self) -> Result<Box<dyn Decoder + '_>> {
        self.policy.decoder()
    }

    fn parameters(&self) -> Vec<&Parameters> {
        let critic = self.critic.iter().flat_map(|critic| critic.parameters());
        self.policy.parameters().into_iter().chain(critic).collect()
    }

    fn parameters_mut(&mut self) -> Vec<&mut Parameters> {
        let critic = self.critic.iter_mut();
        let critic = critic.flat_map(|critic| critic.parameters_mut());
        self.policy
            .parameters_mut()
            .into_iter()
            .chain(critic)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bigram, sequences};
    use rlhf_tensor::Storage;

    fn separate() -> ActorCritic {
        let policy = Box::new(Bigram::random(5, Storage::Trainable, 1));
        ActorCritic::with_critic(policy, Box::new(Bigram::random(5, Storage::Trainable, 2)))
    }

    #[test]
    fn values_come_from_the_critic_and_their_gradients_go_there() {
        let s = sequences();
        let mut alone = Bigram::random(5, Storage::Trainable, 1);
        let mut critic = Bigram::random(5, Storage::Trainable, 2);
        let mut both = separate();
        let outputs = both.read(&s, Want::TRAIN.with_entropy()).unwrap();
        let policy = alone.read(&s, Want::TRAIN.with_entropy()).unwrap();
        let values = critic.read(&s, Want::TRAIN).unwrap().values.unwrap();
        let numbers = |x: &rlhf_objective::PerToken| x.to_vec().unwrap();
        assert_eq!(numbers(&outputs.log_probs), numbers(&policy.log_probs));
        assert_eq!(numbers(outputs.values.as_ref().unwrap()), numbers(&values));

        let ones = || Some(vec![1.0; s.tokens()]);
        let gradients = OutputGrads {
            log_probs: ones(),
            values: ones(),
            ..OutputGrads::default()
        };
        both.backward(&gradients).unwrap();
        let norms: Vec<f64> = both
            .parameters()
            .iter()
            .map(|p| p.gradient_norm())
            .collect();
        alone
            .backward(&OutputGrads {
                values: None,
                ..gradients.clone()
            })
            .unwrap();
        critic
            .backward(&OutputGrads {
                values: ones(),
                ..OutputGrads::default()
            })
            .unwrap();
        assert_eq!(norms[0], alone.parameters()[0].gradient_norm());
        assert_eq!(norms[1], critic.parameters()[0].gradient_norm());
    }

    #[test]
    fn saves_both_networks() {
        let folder = tempfile::tempdir().unwrap();
        let both = separate();
        both.save(folder.path()).unwrap();
        for (path, parameters) in [folder.path().into(), folder.path().join("critic")]
            .iter()
            .zip(both.parameters())
        {
            let loaded = Bigram::load(path, Storage::Frozen).unwrap();
            assert_eq!(loaded.parameters()[0].checksum(), parameters.checksum());
        }
    }
}
