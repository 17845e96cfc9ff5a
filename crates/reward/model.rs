//! A reward model as a reward.

use crate::retokenize::{Adapted, Retokenizer};
use crate::{Error, Result};
use rlhf_lm::{ActivationCheckpointing, Backend, LoadOptions, Model, OutputHeads, Tokenizer};
use rlhf_objective::{OutputSpec, PerSeq, Reward, Sequences};
use rlhf_tensor::Storage;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;

/// The most tokens read at once: memory, not mathematics.
const TOKENS: usize = 4096;
const FILE: &str = "reward.json";

/// A scale for scores that Bradley and Terry's model leaves open: gain·score + bias.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalization {
    /// What a score is multiplied by, positive.
    pub gain: f64,
    /// What is added to it, in units of the reward.
    pub bias: f64,
}

impl Normalization {
    /// Scores as the network answers them.
    pub const NONE: Self = Self {
        gain: 1.0,
        bias: 0.0,
    };

    /// The one that gives these scores, of responses of the prior, mean 0 and standard deviation 1
    /// (Ziegler et al. 2019, §2.1).
    ///
    /// # Errors
    /// If there are fewer than two, or they are all the same: a model that tells nothing apart.
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

    /// Reads `reward.json` of a checkpoint folder; [`NONE`](Self::NONE) where there is no such file.
    ///
    /// # Errors
    /// If the file is not what the end of a run writes.
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

    /// Where a checkpoint folder has it.
    #[must_use]
    pub fn path(folder: &Path) -> std::path::PathBuf {
        folder.join(FILE)
    }
}

/// How networks are loaded where nothing else is said.
pub(crate) const FROZEN: LoadOptions = LoadOptions {
    storage: Storage::Frozen,
    activation_checkpointing: ActivationCheckpointing::None,
    heads: OutputHeads::Score,
    temperature: 1.0,
    backend: Backend::F32,
};

/// A frozen reward model: a network with one score a response.
pub struct Learned {
    model: Box<dyn Model>,
    normalization: Normalization,
    /// To what it is adapted; none where it reads sequences as they are.
    adapted: Option<Adapted>,
}

impl fmt::Debug for Learned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Learned")
            .field("normalization", &self.normalization)
            .finish_non_exhaustive()
    }
}

impl Learned {
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
            temperature: 1.0,
            ..*networks
        };
        let model = rlhf_lm::load(folder, &options).map_err(|e| Error::Model(Box::new(e)))?;
        Ok(Self::new(model, Normalization::load(folder)?))
    }

    /// Of a network loaded with [`OutputHeads::Score`].
    #[must_use]
    pub fn new(model: Box<dyn Model>, normalization: Normalization) -> Self {
        Self {
            model,
            normalization,
            adapted: None,
        }
    }

    /// As [`load`](Self::load), to judge a policy with this tokenizer: where its own is another, it
    /// reads the text again, and where its ids are the same, a response that ended does so with an
    /// end-of-sequence token of its own. It is loaded as `networks` says but for its heads and temperature.
    ///
    /// # Errors
    /// As there, or if there is no text because one of both has no tokenizer.
    pub fn read_by(folder: &Path, policy: &Tokenizer, networks: &LoadOptions) -> Result<Self> {
        Ok(Self {
            adapted: Some(Retokenizer::of(folder, policy)?),
            ..Self::load_as(folder, networks)?
        })
    }

    /// Whether the reward model in `folder` reads the text of a policy with this tokenizer again,
    /// because its own is another.
    ///
    /// # Errors
    /// As [`read_by`](Self::read_by), of what the headers tell.
    pub fn rereads(folder: &Path, policy: &Tokenizer) -> Result<bool> {
        Ok(matches!(
            Retokenizer::of(folder, policy)?,
            Adapted::Texts(_)
        ))
    }

    /// V: it reads token ids, so a policy must have the same vocabulary.
    #[must_use]
    pub fn vocab(&self) -> usize {
        self.model.vocab()
    }

    /// Scores as the network answers them, \[B\].
    ///
    /// # Errors
    /// If a sequence does not fit its context or vocabulary, or it answers no scores.
    pub fn raw(&mut self, sequences: &Sequences) -> rlhf_objective::Result<Vec<f32>> {
        let own = match &self.adapted {
            Some(Adapted::Texts(by)) => Some(by.read(sequences)?),
            Some(Adapted::Ids(by)) => by.read(sequences)?,
            None => None,
        };
        let sequences = own.as_ref().unwrap_or(sequences);
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

impl Reward for Learned {
    fn score(&mut self, sequences: &Sequences) -> rlhf_objective::Result<PerSeq> {
        let Normalization { gain, bias } = self.normalization;
        let scores = self.raw(sequences)?.into_iter();
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
    fn normalized_samples_have_mean_0_and_deviation_1() {
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
    fn kept_beside_the_model() {
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
