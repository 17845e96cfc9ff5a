//! The typed sections of the settings, other than `[prior]`, `[reward]` and `[method]`.

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
    /// The checkpoint that training starts from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Where the critic's values come from, for methods with a critic.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critic: Option<Critic>,
    /// The implementation of the networks.
    pub backend: BackendName,
    /// The precision of the matrix products of every network.
    pub dtype: DtypeName,
    /// The precision in which the weights of prior and reward models are stored.
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

/// Where the critic's values come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Critic {
    /// A linear layer on the policy's hidden states.
    Head,
    /// A network of its own, starting as a copy of the policy.
    Separate,
}

impl Critic {
    /// All variants: name, value and description.
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

    /// The name in settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Separate => "separate",
        }
    }
}

/// The implementation of the networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendName {
    /// The fast implementation, with its own kernels.
    Engine,
    /// The readable reference implementation.
    Plain,
}

impl BackendName {
    /// All variants: name, value and description.
    pub const ALL: [(&'static str, Self, &'static str); 2] = [
        ("engine", Self::Engine, "The fast implementation"),
        (
            "plain",
            Self::Plain,
            "The readable reference implementation",
        ),
    ];
}

/// A number format: what operands of matrix products are rounded to, or what weights are stored in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DtypeName {
    /// Not rounded.
    F32,
    /// Rounded to bf16; sums stay in f32.
    Bf16,
}

impl DtypeName {
    /// All variants: name, value and description.
    pub const ALL: [(&'static str, Self, &'static str); 2] = [
        ("f32", Self::F32, "Not rounded"),
        ("bf16", Self::Bf16, "Rounded to bf16; sums stay in f32"),
    ];

    /// The name in settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

/// `[data]`: the training and held-out data, and how rows are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSection {
    /// The training data: a file, a folder or a hub repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub train: Option<PathBuf>,
    /// A separate file of held-out data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out: Option<PathBuf>,
    /// The fraction of the distinct prompts that is held out.
    pub held_out_fraction: f64,
    /// The least number of distinct prompts that are held out, if any are.
    pub held_out_at_least: usize,
    /// The split of a folder or repository to train on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// The split that is held out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out_split: Option<String>,
    /// The file format, if the file's name does not tell it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// The column names of a table without a header.
    pub columns: Vec<String>,
    /// What separates the documents of a plain-text file.
    pub documents: Documents,
    /// What to do with a row that cannot be used.
    pub on_bad_row: OnBadRow,
    /// A chat template that replaces the checkpoint's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<PathBuf>,
    /// Which tokens of a conversation the loss of sft covers.
    pub loss_on: LossOn,
    /// Which pairs are formed from scored responses.
    pub pairs: PairsOf,
    /// The least difference between the scores of a pair.
    pub min_margin: f64,
    /// What the values of labels mean.
    pub label: LabelFormat,
    /// How the labels of several annotators are combined.
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
    /// The temperature of policy and prior: their logits are divided by it.
    pub temperature: f64,
    /// The token ids that policy and prior may generate; `None` allows all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Vec<u32>>,
    /// The greatest length of a response, tokens. `None`: 64, or less if `data.max_prompt_tokens` leaves
    /// less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_new_tokens: Option<usize>,
    /// Responses per iteration.
    pub rollouts: usize,
    /// Responses per prompt.
    pub samples_per_prompt: usize,
    /// Responses that are sampled at a time. Affects memory, not results.
    pub rows: usize,
}

/// `[optim]`: AdamW and its learning rate schedule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimSection {
    /// The peak learning rate.
    pub learning_rate: f64,
    /// The learning rate schedule after warmup.
    pub schedule: LrSchedule,
    /// The fraction of the steps over which the learning rate rises.
    pub warmup: f64,
    /// The greatest gradient norm; larger gradients are scaled down to it.
    pub clip: f64,
    /// β₁ of AdamW.
    pub beta1: f64,
    /// β₂ of AdamW.
    pub beta2: f64,
    /// ε of AdamW.
    pub epsilon: f64,
    /// Weight decay of AdamW.
    pub weight_decay: f64,
}

/// `[train]`: the training loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainSection {
    /// The seed of all random numbers.
    pub seed: u64,
    /// Iterations, for methods that learn from samples.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iterations: Option<usize>,
    /// Passes over the data, for methods that learn from data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<usize>,
    /// Pairs or responses per optimizer step, for methods that learn from data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<BatchSize>,
    /// The most tokens of one forward pass. Affects memory, not results.
    pub micro_batch_tokens: usize,
    /// Which activations a forward pass keeps for the backward pass.
    pub activation_checkpointing: ActivationCheckpointing,
    /// The number of checkpoints that a run writes.
    pub checkpoints: usize,
    /// The number of responses of an iteration that are logged.
    pub samples: usize,
    /// Threads; 0 uses as many as the machine has.
    pub threads: usize,
    /// The device that networks run on.
    pub device: String,
}

/// `[eval]`: how reward and KL are measured after training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvalSection {
    /// The most held-out prompts to measure on.
    pub prompts: usize,
    /// Responses per prompt.
    pub samples_per_prompt: usize,
    /// Responses of the prior per prompt, from which the optimal frontier is estimated.
    pub prior_samples: usize,
    /// The seed of the samples.
    pub seed: u64,
}
