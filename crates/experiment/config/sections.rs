//! The sections of the settings, but for those of prior, reward and method.

use rlhf_data::{Annotators, Documents, Format, LabelFormat, LossOn, OnBadRow, PairsOf};
use rlhf_lm::{ActivationCheckpointing, AdapterSpec, Scaling, Targets};
use rlhf_objective::BatchSize;
use rlhf_train::LrSchedule;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `[model]`: the policy and its critic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSection {
    /// The checkpoint to start from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// The critic, of methods that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critic: Option<Critic>,
    /// The implementation of the networks.
    pub backend: BackendName,
    /// Of every network of the run.
    pub dtype: DtypeName,
    /// What the weights of prior and reward models are held in.
    pub frozen_dtype: DtypeName,
    /// The adapter that is trained in place of the weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<AdapterSection>,
}

/// `[model.adapter]`: LoRA, with the names of PEFT's settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterSection {
    /// The rank of each update.
    pub rank: usize,
    /// The update is multiplied by alpha/rank; without one, alpha is twice the rank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha: Option<f64>,
    /// The linear layers with an adapter: `"all-linear"`, a regular expression, or the ends of their names.
    #[serde(default)]
    pub targets: Targets,
    /// Multiplies the update by alpha/√rank.
    #[serde(default)]
    pub rslora: bool,
}

impl AdapterSection {
    /// The adapter.
    #[must_use]
    pub fn spec(&self) -> AdapterSpec {
        AdapterSpec {
            rank: self.rank,
            alpha: self.alpha.unwrap_or(2.0 * self.rank as f64),
            targets: self.targets.clone(),
            scaling: if self.rslora {
                Scaling::ByRootRank
            } else {
                Scaling::ByRank
            },
        }
    }
}

/// Where values come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Critic {
    /// A linear layer on the policy's hidden states.
    Head,
    /// A network of its own, starting as a copy of the policy.
    Separate,
}

impl Critic {
    /// All of them, with their names and what they are.
    pub const ALL: [(&'static str, Self, &'static str); 2] = [
        (
            "head",
            Self::Head,
            "A linear layer on the policy's hidden states",
        ),
        (
            "separate",
            Self::Separate,
            "A network of its own, starting as a copy of the policy",
        ),
    ];

    /// As it is written in settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Separate => "separate",
        }
    }
}

/// Which implementation of the network computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendName {
    /// The fast one.
    Engine,
    /// The readable one.
    Plain,
}

impl BackendName {
    /// All of them, with their names and what they are.
    pub const ALL: [(&'static str, Self, &'static str); 2] = [
        ("engine", Self::Engine, "The fast one"),
        ("plain", Self::Plain, "The readable one"),
    ];
}

/// A type of number: what the operands of matrix products are rounded to, or weights held in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DtypeName {
    /// Not rounded.
    F32,
    /// Rounded to bf16; sums stay in f32.
    Bf16,
}

impl DtypeName {
    /// All of them, with their names and what they are.
    pub const ALL: [(&'static str, Self, &'static str); 2] = [
        ("f32", Self::F32, "Not rounded"),
        ("bf16", Self::Bf16, "Rounded to bf16; sums stay in f32"),
    ];

    /// As it is written in settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

/// `[data]`: what is learnt from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSection {
    /// The data: a file or a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<PathBuf>,
    /// A file of its own to hold out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<PathBuf>,
    /// The share of the distinct prompts that is held out.
    pub held_out_fraction: f64,
    /// How many distinct prompts are held out at least, where any are.
    pub held_out_at_least: usize,
    /// Which part of a folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// Which part is held out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out_split: Option<String>,
    /// What files are, where their names do not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// The names of the columns of a table without a heading.
    pub columns: Vec<String>,
    /// What parts the documents of plain text.
    pub documents: Documents,
    /// What is done with a row that cannot be used.
    pub on_bad_row: OnBadRow,
    /// Another chat template than the checkpoint's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<PathBuf>,
    /// Which tokens of a conversation sft learns.
    pub loss_on: LossOn,
    /// Which pairs scored responses make, and by how much more than `min_margin` they differ.
    pub pairs: PairsOf,
    /// By how much the scores of a pair must differ.
    pub min_margin: f64,
    /// What the values of labels mean, and what is made of those of several annotators.
    pub label: LabelFormat,
    /// What is made of the labels of several annotators.
    pub annotators: Annotators,
    /// The greatest length of a prompt, tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_prompt_tokens: Option<usize>,
    /// The greatest length of a completion, tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_completion_tokens: Option<usize>,
    /// The names of the fields of a row.
    pub fields: rlhf_data::Fields,
}

/// `[sampling]`: how responses are drawn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplingSection {
    /// What logits are divided by, of policy and prior alike.
    pub temperature: f64,
    /// The tokens that policy and prior may say, if not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Vec<u32>>,
    /// None where it was not given: 64, or what a limit of the prompts leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_new_tokens: Option<usize>,
    /// Responses an iteration.
    pub rollouts: usize,
    /// Responses to each prompt.
    pub samples_per_prompt: usize,
    /// Responses that grow at once: memory, not mathematics.
    pub rows: usize,
}

/// `[optim]`: AdamW and its schedule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimSection {
    /// The greatest learning rate.
    pub learning_rate: f64,
    /// What becomes of it over the run.
    pub schedule: LrSchedule,
    /// The share of the steps over which it rises.
    pub warmup: f64,
    /// The norm that gradients are scaled down to.
    pub clip: f64,
    /// β₁ of AdamW.
    pub beta1: f64,
    /// β₂ of AdamW.
    pub beta2: f64,
    /// ε of AdamW.
    pub epsilon: f64,
    /// The decay of weights.
    pub weight_decay: f64,
}

/// `[train]`: the loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainSection {
    /// The seed of everything random.
    pub seed: u64,
    /// Iterations, of methods that learn from samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iterations: Option<usize>,
    /// Passes over the data, of methods that learn from data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<usize>,
    /// How much an optimizer step takes, of methods that learn from data: pairs or responses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<BatchSize>,
    /// The most tokens of one forward pass: this changes memory, not mathematics.
    pub micro_batch_tokens: usize,
    /// What a forward pass keeps for the backward pass.
    pub activation_checkpointing: ActivationCheckpointing,
    /// How many checkpoints a run writes.
    pub checkpoints: usize,
    /// How many responses of an iteration are written down.
    pub samples: usize,
    /// Threads; 0 takes as many as the machine has.
    pub threads: usize,
    /// Where networks compute.
    pub device: String,
}

/// `[eval]`: how a point on the reward–KL plane is measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalSection {
    /// The most held-out prompts that are measured on.
    pub prompts: usize,
    /// Responses to each.
    pub samples_per_prompt: usize,
    /// Responses of the prior to each, to estimate the optimal frontier from.
    pub prior_samples: usize,
    /// The seed of what is drawn to measure.
    pub seed: u64,
}
