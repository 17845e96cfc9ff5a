//! A reward model: a network with one score per response.

use crate::retokenize::{Conversion, Retokenizer};
use crate::{Error, Result};
use rlhf_lm::{
    ActivationCheckpointing, Backend, LoadOptions, Model, OutputHeads, OutputVocabulary, Tokenizer,
};
use rlhf_objective::{OutputSpec, PerSeq, Reward, Sequences};
use rlhf_tensor::Storage;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;

/// The maximum number of tokens in a forward pass. It changes memory, not results.
const TOKENS: usize = 4096;
const FILE: &str = "reward.json";

/// The normalization gain·score + bias. The Bradley–Terry model does not determine scale and offset.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalization {
    /// The factor, positive.
    pub gain: f64,
    /// The offset, in units of the reward.
    pub bias: f64,
}

impl Normalization {
    /// No normalization.
    pub const NONE: Self = Self {
        gain: 1.0,
        bias: 0.0,
    };

    /// The normalization after which these scores, of responses sampled from the prior, have mean 0 and
    /// standard deviation 1 (Ziegler et al. 2019, §2.1).
    ///
    /// # Errors
    /// If there are fewer than two scores, or they are all equal.
    pub fn of(scores: &[f32]) -> Result<Self> {
        let n = scores.len() as f64;
        let mean = scores.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        let squares = scores.iter().map(|&x| (f64::from(x) - mean).powi(2));
        let gain = 1.0 / (squares.sum::<f64>() / n).sqrt();
        if !gain.is_finite() {
            let message = "the reward model gives every sample the same score: train it longer, or \
                           with a greater learning rate";
            return Err(Error::Rule(message.into()));
        }
        Ok(Self {
            gain,
            bias: -gain * mean,
        })
    }

    /// Loads `reward.json` of a checkpoint folder; [`NONE`](Self::NONE) if there is no such file.
    ///
    /// # Errors
    /// If the file is invalid.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::NONE),
            text => text.map_err(|source| Error::Io {
                path: path.clone(),
                source,
            })?,
        };
        let bad = |message: String| Error::File {
            path: path.clone(),
            message,
        };
        let found: Self = serde_json::from_str(&text).map_err(|error| bad(error.to_string()))?;
        if !(found.gain.is_finite() && found.gain > 0.0 && found.bias.is_finite()) {
            return Err(bad("gain must be positive, and both numbers finite".into()));
        }
        Ok(found)
    }

    /// The content of `reward.json`.
    #[must_use]
    pub fn to_json(&self) -> String {
        format!("{:#}\n", serde_json::json!(self))
    }

    /// The path of `reward.json` in a checkpoint folder.
    #[must_use]
    pub fn path(folder: &Path) -> std::path::PathBuf {
        folder.join(FILE)
    }
}

/// The default options for loading networks.
pub(crate) const FROZEN: LoadOptions = LoadOptions {
    storage: Storage::Frozen,
    activation_checkpointing: ActivationCheckpointing::None,
    heads: OutputHeads::Score,
    vocabulary: OutputVocabulary::Whole,
    temperature: 1.0,
    backend: Backend::F32,
};

/// A frozen reward model.
pub struct RewardModel {
    model: Box<dyn Model>,
    normalization: Normalization,
    /// The conversion of the policy's responses, if there is one.
    conversion: Option<Conversion>,
}

impl fmt::Debug for RewardModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RewardModel")
            .field("normalization", &self.normalization)
            .finish_non_exhaustive()
    }
}

impl RewardModel {
    /// The reward model of a checkpoint folder, in the layout of transformers'
    /// `…ForSequenceClassification`, with its `reward.json` if it has one.
    ///
    /// # Errors
    /// If it cannot be loaded, or is a language model.
    pub fn load(folder: &Path, backend: Backend) -> Result<Self> {
        Self::load_as(folder, &LoadOptions { backend, ..FROZEN })
    }

    fn load_as(folder: &Path, networks: &LoadOptions) -> Result<Self> {
        let options = LoadOptions {
            heads: OutputHeads::Score,
            vocabulary: OutputVocabulary::Whole,
            temperature: 1.0,
            ..*networks
        };
        let model = rlhf_lm::load(folder, &options).map_err(|e| Error::Model(Box::new(e)))?;
        Ok(Self::new(model, Normalization::load(folder)?))
    }

    /// From a network loaded with [`OutputHeads::Score`].
    #[must_use]
    pub fn new(model: Box<dyn Model>, normalization: Normalization) -> Self {
        Self {
            model,
            normalization,
            conversion: None,
        }
    }

    /// As [`load`](Self::load), for responses of a policy with this tokenizer. If the reward model has
    /// another tokenizer, their text is tokenized again. If it has the same token ids, their EOS token is
    /// replaced by its own. `networks` are the options for loading, except heads and temperature.
    ///
    /// # Errors
    /// As [`load`](Self::load), or if the tokenizers differ and one of the two models has none.
    pub fn load_for_policy(
        folder: &Path,
        policy: &Tokenizer,
        networks: &LoadOptions,
    ) -> Result<Self> {
        Ok(Self {
            conversion: Some(Retokenizer::conversion(folder, policy)?),
            ..Self::load_as(folder, networks)?
        })
    }

    /// Whether the reward model in `folder` tokenizes the text of a policy with this tokenizer again,
    /// because it has another tokenizer.
    ///
    /// # Errors
    /// As [`load_for_policy`](Self::load_for_policy), without loading weights.
    pub fn retokenizes(folder: &Path, policy: &Tokenizer) -> Result<bool> {
        Ok(matches!(
            Retokenizer::conversion(folder, policy)?,
            Conversion::Texts(_)
        ))
    }

    /// V, the number of vocabulary entries.
    #[must_use]
    pub fn vocab(&self) -> usize {
        self.model.vocab()
    }

    /// The scores of the network without normalization, \[B\].
    ///
    /// # Errors
    /// If a sequence is longer than its context or has tokens beyond its vocabulary, or the network has no
    /// scores.
    pub fn raw_scores(&mut self, sequences: &Sequences) -> rlhf_objective::Result<Vec<f32>> {
        let converted = match &self.conversion {
            Some(Conversion::Texts(retokenizer)) => Some(retokenizer.apply(sequences)?),
            Some(Conversion::Ids(eos)) => eos.apply(sequences)?,
            None => None,
        };
        let sequences = converted.as_ref().unwrap_or(sequences);
        let mut all = Vec::with_capacity(sequences.len());
        for range in sequences.micro_batches(TOKENS, 1) {
            let part = sequences.select(&range.collect::<Vec<_>>());
            let scores = self.model.forward(&part, OutputSpec::SCORE)?.scores;
            let none = || rlhf_objective::Error::Unsupported("the network has no score".into());
            all.extend(scores.ok_or_else(none)?.to_vec()?);
        }
        Ok(all)
    }
}

impl Reward for RewardModel {
    fn score(&mut self, sequences: &Sequences) -> rlhf_objective::Result<PerSeq> {
        let Normalization { gain, bias } = self.normalization;
        let scores = self.raw_scores(sequences)?.into_iter();
        PerSeq::from_vec(
            scores
                .map(|x| (gain * f64::from(x) + bias) as f32)
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normalized_scores_have_mean_0_and_deviation_1() {
        let scores = [3.0f32, 5.0, 1.0, 7.0, 4.0];
        let by = Normalization::of(&scores).unwrap();
        let new: Vec<f64> = scores
            .iter()
            .map(|&x| by.gain * f64::from(x) + by.bias)
            .collect();
        let mean = new.iter().sum::<f64>() / 5.0;
        let variance = new.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 5.0;
        assert!(mean.abs() < 1e-12 && (variance - 1.0).abs() < 1e-12);
        assert!(Normalization::of(&[2.0; 4]).is_err());
        assert!(Normalization::of(&[2.0]).is_err());
        assert!(Normalization::of(&[]).is_err());
    }

    #[test]
    fn normalization_is_loaded_from_reward_json() {
        let folder = tempfile::tempdir().unwrap();
        let load = || Normalization::load(folder.path());
        assert_eq!(load().unwrap(), Normalization::NONE);
        let path = Normalization::path(folder.path());
        let by = Normalization {
            gain: 0.1 + 0.2,
            bias: -1.0 / 3.0,
        };
        std::fs::write(&path, by.to_json()).unwrap();
        assert_eq!(load().unwrap(), by);
        for bad in [r#"{"gain": 0, "bias": 0}"#, r#"{"gain": 1}"#, "[]"] {
            std::fs::write(&path, bad).unwrap();
            let error = load().unwrap_err().to_string();
            assert!(error.contains("reward.json"), "{error}");
        }
    }
}
