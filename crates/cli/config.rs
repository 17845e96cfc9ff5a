//! The settings of a run, as they stand in `config.toml`.
//!
//! `names` are the objectives and methods, `defaults` the one place of default values, `check` refuses
//! what makes no sense; `layers` lays a file and `--set` over the defaults. Nothing is opened or loaded
//! here: see `wiring`.

mod check;
mod defaults;
mod names;

pub(crate) use names::{MethodName, ObjectiveName};

use anyhow::Result;
use rlhf_data::{Annotators, Documents, Format, LabelValues, LossOn, OnBadRow, PairsOf};
use rlhf_lm::Recompute;
use rlhf_objective::{Adaptive, Beta, Target};
use rlhf_reward::Rule;
use rlhf_train::LrSchedule;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::path::{Path, PathBuf};

/// All settings of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) objective: ObjectiveName,
    pub(crate) beta: BetaSetting,
    pub(crate) model: ModelSection,
    pub(crate) prior: PriorSection,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reward: Option<Rule>,
    pub(crate) data: DataSection,
    pub(crate) method: toml::Table,
    pub(crate) sampling: SamplingSection,
    pub(crate) optim: OptimSection,
    pub(crate) train: TrainSection,
    pub(crate) eval: EvalSection,
}

/// β: a number, or a start and what to hold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(untagged)]
pub(crate) enum BetaSetting {
    Fixed(f64),
    Adaptive(AdaptiveBeta),
}

impl<'de> Deserialize<'de> for BetaSetting {
    /// An error in a table names its key, which an untagged enum does not.
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        match toml::Value::deserialize(from)? {
            toml::Value::Float(beta) => Ok(Self::Fixed(beta)),
            toml::Value::Integer(beta) => Ok(Self::Fixed(beta as f64)),
            toml::Value::Table(table) => match table.try_into() {
                Ok(adaptive) => Ok(Self::Adaptive(adaptive)),
                Err(error) => Err(D::Error::custom(error.to_string().trim_end())),
            },
            _ => Err(D::Error::custom(
                "expected a number, or { start, target_kl or target_entropy, horizon, min, max }",
            )),
        }
    }
}

/// A β that moves; one of the targets is given.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdaptiveBeta {
    pub(crate) start: f64,
    /// Nats a sequence, where the prior is a distribution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) target_kl: Option<f64>,
    /// Nats a sequence, where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) target_entropy: Option<f64>,
    pub(crate) horizon: f64,
    /// Its bounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) min: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max: Option<f64>,
}

impl AdaptiveBeta {
    /// What is held, once `check` has seen that there is one thing.
    pub(crate) fn target(&self) -> Target {
        match (self.target_kl, self.target_entropy) {
            (_, Some(entropy)) => Target::Entropy(entropy),
            (kl, None) => Target::Kl(kl.unwrap_or_default()),
        }
    }

    pub(crate) fn adaptive(&self) -> Adaptive {
        let usual = Adaptive::new(self.start, self.target(), self.horizon);
        Adaptive {
            lowest: self.min.unwrap_or(usual.lowest),
            greatest: self.max.unwrap_or(usual.greatest),
            ..usual
        }
    }
}

impl BetaSetting {
    pub(crate) fn beta(self) -> Beta {
        match self {
            Self::Fixed(beta) => Beta::Fixed(beta),
            Self::Adaptive(of) => Beta::Adaptive(of.adaptive()),
        }
    }
}

/// `[model]`: the policy and its critic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ModelSection {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) path: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) critic: Option<Critic>,
    pub(crate) backend: BackendName,
    /// Of every network of the run.
    pub(crate) dtype: DtypeName,
    /// What the weights of prior and reward models are held in.
    pub(crate) frozen_dtype: DtypeName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) adapter: Option<toml::Value>,
}

/// Where values come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Critic {
    /// A linear layer on the policy's hidden states.
    Head,
    /// A network of its own, starting as a copy of the policy.
    Separate,
}

/// Which implementation of the network computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BackendName {
    /// The fast one.
    Engine,
    /// The readable one.
    Plain,
}

/// A type of number: what the operands of matrix products are rounded to, or weights held in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DtypeName {
    /// Not rounded.
    F32,
    /// Rounded to bf16; sums stay in f32.
    Bf16,
}

impl DtypeName {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

/// `[prior]`: p₀.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PriorSection {
    pub(crate) kind: PriorKind,
    /// Where its network is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) model: Option<PathBuf>,
    /// The demonstrations that a copy of the model is fitted to, before the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) data: Option<PathBuf>,
    /// How it is fitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) fit: Option<FitSection>,
    /// The weight of the uniform distribution mixed into each token of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) smoothing: Option<f64>,
    /// Of a mixture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mean: Option<MeanName>,
    /// The weight of the second of a mixture.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) weight: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) first: Option<Box<PriorSection>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) second: Option<Box<PriorSection>>,
    /// Where the fit to `data` is, once there is a run folder to hold it.
    #[serde(skip)]
    pub(crate) fitted: Option<PathBuf>,
}

/// `[prior.fit]`: supervised fine-tuning of a copy of the model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FitSection {
    pub(crate) learning_rate: f64,
    pub(crate) epochs: usize,
    pub(crate) per_step: rlhf_sft::PerStep,
}

impl PriorSection {
    /// Of a kind, and nothing else said.
    pub(crate) fn of(kind: PriorKind) -> Self {
        Self {
            kind,
            model: None,
            data: None,
            fit: None,
            smoothing: None,
            mean: None,
            weight: None,
            first: None,
            second: None,
            fitted: None,
        }
    }

    /// Every path in it with its key, which starts with `prefix`.
    fn paths(&mut self, prefix: &str) -> Vec<(String, &mut PathBuf)> {
        let parts = [("first", &mut self.first), ("second", &mut self.second)];
        let own = [("model", &mut self.model), ("data", &mut self.data)];
        let mut all = Vec::new();
        for (name, path) in own {
            all.extend(
                path.iter_mut()
                    .map(|path| (format!("{prefix}.{name}"), path)),
            );
        }
        for (name, part) in parts {
            let inner = part.iter_mut();
            all.extend(inner.flat_map(|part| part.paths(&format!("{prefix}.{name}"))));
        }
        all
    }
}

/// The mean of a mixture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MeanName {
    /// Of the log-probs of each token, renormalized.
    Geometric,
    /// Of the probabilities of whole responses.
    Arithmetic,
}

/// The kind of prior.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PriorKind {
    Counting,
    Uniform,
    Reference,
    Demonstrations,
    Mixture,
}

/// `[data]`: what is learnt from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DataSection {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) train: Option<PathBuf>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) held_out: Option<PathBuf>,
    pub(crate) held_out_fraction: f64,
    /// How many distinct prompts are held out at least, where any are.
    pub(crate) held_out_at_least: usize,
    /// Which part of a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) split: Option<String>,
    /// Which part is held out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) held_out_split: Option<String>,
    /// What files are, where their names do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) format: Option<Format>,
    /// The names of the columns of a table without a heading.
    pub(crate) columns: Vec<String>,
    pub(crate) documents: Documents,
    pub(crate) on_bad_row: OnBadRow,
    /// Another chat template than the checkpoint's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) chat_template: Option<PathBuf>,
    /// Which tokens of a conversation sft learns.
    pub(crate) loss_on: LossOn,
    /// Which pairs scored responses make, and by how much more than `min_margin` they differ.
    pub(crate) pairs: PairsOf,
    pub(crate) min_margin: f64,
    /// What the values of labels mean, and what is made of those of several annotators.
    pub(crate) label: LabelValues,
    pub(crate) annotators: Annotators,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_prompt_tokens: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_completion_tokens: Option<usize>,
    pub(crate) fields: rlhf_data::Fields,
}

/// `[sampling]`: how responses are drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SamplingSection {
    pub(crate) temperature: f64,
    /// The tokens that policy and prior may say, if not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tokens: Option<Vec<u32>>,
    /// None where it was not given: 64, or what a limit of the prompts leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_new_tokens: Option<usize>,
    pub(crate) rollouts: usize,
    pub(crate) samples_per_prompt: usize,
    pub(crate) rows: usize,
}

/// `[optim]`: AdamW and its schedule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OptimSection {
    pub(crate) learning_rate: f64,
    pub(crate) schedule: LrSchedule,
    pub(crate) warmup: f64,
    pub(crate) clip: f64,
    pub(crate) beta1: f64,
    pub(crate) beta2: f64,
    pub(crate) epsilon: f64,
    pub(crate) weight_decay: f64,
}

/// `[train]`: the loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrainSection {
    pub(crate) seed: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) iterations: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) epochs: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) batch_pairs: Option<usize>,
    pub(crate) tokens_per_batch: usize,
    pub(crate) recompute: Recompute,
    pub(crate) checkpoints: usize,
    pub(crate) samples: usize,
    pub(crate) threads: usize,
    pub(crate) device: String,
}

/// `[eval]`: how a point on the reward–KL plane is measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EvalSection {
    pub(crate) prompts: usize,
    pub(crate) samples_per_prompt: usize,
    pub(crate) prior_samples: usize,
    pub(crate) seed: u64,
}

impl Config {
    /// `[method]` as the settings of its method; `resolve` has seen that they are.
    pub(crate) fn method<T: serde::de::DeserializeOwned>(&self) -> Result<T> {
        Ok(T::deserialize(toml::Value::Table(self.method.clone()))?)
    }

    /// As it is stored in the run folder `folder`: what lies inside is written relative to it, so that
    /// the folder can be moved.
    pub(crate) fn stored_in(mut self, folder: &Path) -> Result<Self> {
        let folder = std::path::absolute(folder)?;
        for (_, path) in self.paths() {
            if let Ok(inside) = path.strip_prefix(&folder) {
                *path = inside.into();
            }
        }
        Ok(self)
    }

    /// As it was before [`stored_in`](Self::stored_in), wherever the folder is now.
    pub(crate) fn read_from(mut self, folder: &Path) -> Result<Self> {
        let folder = std::path::absolute(folder)?;
        for (_, path) in self.paths() {
            let here = folder.join(&path);
            // A repository of the hub is stored with its commit, as owner/name@commit.
            if here.exists() || !path.to_string_lossy().contains('@') {
                *path = here;
            }
        }
        Ok(self)
    }

    /// Every path with its key.
    pub(crate) fn paths(&mut self) -> Vec<(String, &mut PathBuf)> {
        let own = [
            ("model.path", &mut self.model.path),
            ("data.train", &mut self.data.train),
            ("data.held_out", &mut self.data.held_out),
            ("data.chat_template", &mut self.data.chat_template),
        ];
        let own = own.into_iter();
        let own = own.filter_map(|(key, path)| Some((key.to_string(), path.as_mut()?)));
        let reward = self.reward.iter_mut().flat_map(Rule::files);
        let reward = reward.map(|path| ("reward".to_string(), path));
        own.chain(self.prior.paths("prior")).chain(reward).collect()
    }
}
