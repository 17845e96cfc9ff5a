//! The implicit reward of a policy: β·log(π/p₀).

use crate::{Error, Result};
use rlhf_lm::{LoadOptions, Model, OutputHeads, OutputVocabulary, Tokenizer, inspect};
use rlhf_objective::{OutputSpec, PerSeq, Reward, Sequences, tilt};
use rlhf_tensor::Tensor;
use std::fmt;
use std::path::Path;

/// The maximum number of tokens in a forward pass. It changes memory, not results.
const TOKENS: usize = 4096;

/// β·log(π/p₀), summed over a response, in units of the reward: the reward that a policy trained by DPO has
/// learned, for use with another method.
pub(crate) struct Implicit {
    policy: Box<dyn Model>,
    prior: Box<dyn Model>,
    beta: f64,
}

impl fmt::Debug for Implicit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Implicit")
            .field("beta", &self.beta)
            .finish_non_exhaustive()
    }
}

impl Implicit {
    /// Checks β, and that both models have the tokenizer of the policy, from their configurations.
    ///
    /// # Errors
    /// If β is not positive, a folder cannot be read, or a model has another tokenizer.
    pub(crate) fn check(
        folders: [&Path; 2],
        beta: f64,
        policy_tokenizer: &Tokenizer,
    ) -> Result<()> {
        if !beta.is_finite() || beta <= 0.0 {
            let message = format!("reward implicit: beta = {beta}: must be a positive number");
            return Err(Error::Rule(message));
        }
        for folder in folders {
            let vocab = inspect(folder).map_err(wrap)?.vocab;
            let own = Tokenizer::load(folder, vocab).map_err(wrap)?;
            if !own.same_ids(policy_tokenizer) {
                return Err(Error::Rule(format!(
                    "reward implicit: {} has another tokenizer than the model: use models with the same \
                    tokenizer",
                    folder.display()
                )));
            }
        }
        Ok(())
    }

    /// Loads the language models of two folders, for a policy with this tokenizer.
    ///
    /// # Errors
    /// As [`check`](Self::check), or if a folder cannot be loaded.
    pub(crate) fn load(
        [policy, prior]: [&Path; 2],
        beta: f64,
        policy_tokenizer: &Tokenizer,
        networks: &LoadOptions,
    ) -> Result<Self> {
        Self::check([policy, prior], beta, policy_tokenizer)?;
        let options = LoadOptions {
            heads: OutputHeads::Language,
            vocabulary: OutputVocabulary::WithText,
            temperature: 1.0,
            ..*networks
        };
        let load = |folder| rlhf_lm::load(folder, &options).map_err(wrap);
        Ok(Self {
            policy: load(policy)?,
            prior: load(prior)?,
            beta,
        })
    }
}

fn wrap(error: rlhf_lm::Error) -> Error {
    Error::Model(Box::new(error))
}

impl Reward for Implicit {
    fn score(&mut self, sequences: &Sequences) -> rlhf_objective::Result<PerSeq> {
        let mut all = Vec::with_capacity(sequences.len());
        for range in sequences.micro_batches(TOKENS, 1) {
            let part = sequences.select(&range.collect::<Vec<_>>());
            let log_probs = |model: &mut Box<dyn Model>| -> rlhf_objective::Result<Tensor> {
                let log_probs = model.forward(&part, OutputSpec::SCORE)?.log_probs;
                Ok(log_probs.sums()?.values().detach())
            };
            let (policy, prior) = (log_probs(&mut self.policy)?, log_probs(&mut self.prior)?);
            all.extend(tilt(&policy, &prior, self.beta)?.to_vec1::<f32>()?);
        }
        PerSeq::from_vec(all)
    }
}
