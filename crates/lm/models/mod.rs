//! Architectures: one file each, which translates `config.json` and the names of tensors into what the
//! engine and the plain network know. And the table, a world small enough to enumerate.

pub(crate) mod gpt2;
pub mod table;

use crate::config::Fields;
use crate::spec::ModelSpec;
use rlhf_tensor::Parameters;

/// All architectures.
const ALL: [&Architecture; 1] = [&gpt2::GPT2];

/// How the checkpoints of an architecture say what our specs and parameters say.
#[derive(Debug)]
pub(crate) struct Architecture {
    /// `model_type` in config.json.
    pub(crate) model_type: &'static str,
    /// What the names of its classes in transformers begin with.
    class_prefix: &'static str,
    /// Its class with a vocabulary head.
    pub(crate) language_model: &'static str,
    /// Its class with one number a text.
    pub(crate) reward_model: &'static str,
    /// What the network is made of, from the fields of config.json; an error names the field.
    pub(crate) spec: fn(&Fields<'_>) -> Result<ModelSpec, String>,
    /// What the tensors of a part are called, up to `.weight` and `.bias`.
    name: fn(Part) -> String,
    /// What a tensor of a file is called where parameters are listed; none for one that holds no weights.
    pub(crate) canonical: fn(&str) -> Option<String>,
    /// Fills parameters as they are at the start of training.
    initialize: fn(&ModelSpec, &mut Parameters, u64),
}

impl PartialEq for Architecture {
    fn eq(&self, other: &Self) -> bool {
        self.model_type == other.model_type
    }
}

/// A part of a network, of a block where it has a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// The token embedding.
    Tokens,
    /// The position embedding.
    Positions,
    /// The norm before attention.
    Norm1(usize),
    /// Queries, keys and values.
    Qkv(usize),
    /// The projection after attention.
    AttentionOut(usize),
    /// The norm before the feed-forward layer.
    Norm2(usize),
    /// Into the feed-forward layer.
    Inner(usize),
    /// Out of it.
    InnerOut(usize),
    /// The norm behind the last block.
    LastNorm,
}

impl Architecture {
    /// The architecture of a `config.json`, by its `model_type` or else its class.
    pub(crate) fn of(fields: &Fields<'_>) -> Result<&'static Self, String> {
        let model_type = fields.text("model_type")?;
        let Some(name) = model_type.or(fields.class()) else {
            return Err("model_type is missing: is this a language model's config?".into());
        };
        let found = ALL.into_iter().find(|architecture| {
            name == architecture.model_type || name.starts_with(architecture.class_prefix)
        });
        found.ok_or_else(|| {
            let known = ALL.map(|architecture| architecture.model_type).join(", ");
            format!("model_type = {name:?}: only {known} is supported")
        })
    }

    pub(crate) fn name(&self, part: Part) -> String {
        (self.name)(part)
    }

    pub(crate) fn initialize(&self, spec: &ModelSpec, parameters: &mut Parameters, seed: u64) {
        (self.initialize)(spec, parameters, seed);
    }
}
