//! Architectures: one file each, which translates `config.json` and the names of tensors into what the
//! engine and the plain network know.

mod gemma3;
mod gpt2;
mod gpt_neo;
mod gpt_neox;
mod llama;
mod olmo2;
mod opt;
mod qwen2;
mod qwen3;
#[cfg(test)]
mod refused_tests;
mod rotary;
mod sizes;

use crate::fields::Fields;
use crate::parts::{Part, PartTensor, Which};
use crate::spec::ModelSpec;
use rlhf_device::Nonlinearity;
use serde_json::Value;
pub use sizes::Sizes;

/// All architectures.
static ALL: [&Architecture; 9] = [
    &gpt2::GPT2,
    &llama::LLAMA,
    &qwen2::QWEN2,
    &qwen3::QWEN3,
    &gpt_neox::GPT_NEOX,
    &gemma3::GEMMA3,
    &olmo2::OLMO2,
    &gpt_neo::GPT_NEO,
    &opt::OPT,
];

/// How the checkpoints of an architecture say what our specs and parameters say.
#[derive(Debug)]
pub struct Architecture {
    /// `model_type` in config.json.
    pub model_type: &'static str,
    /// Its class of the trunk alone in transformers.
    base_model: &'static str,
    /// Its class with a vocabulary head.
    pub language_model: &'static str,
    /// Its class with one number a text.
    pub reward_model: &'static str,
    /// What the network is made of, from the fields of config.json; an error names the field.
    spec: fn(&Fields<'_>) -> Result<ModelSpec, String>,
    /// What the tensors of a part are called, up to `.weight` and `.bias`.
    name: fn(Part) -> String,
    /// What a tensor of a file is called where parameters are listed; none for one that holds no weights.
    pub canonical: fn(&str) -> Option<String>,
    /// What random weights are at the start of training.
    pub first_weights: FirstWeights,
    /// The fields of config.json that say the sizes of a network.
    fields_of: fn(&Sizes) -> Value,
}

/// What random weights are at the start of training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstWeights {
    /// Of deviation 0.02, those of residual projections smaller by √(2·layers) (Radford et al. 2019, §2.3).
    Gpt2,
    /// All of the deviation that `initializer_range` says, 0.02 by default, as transformers makes them.
    InitializerRange,
}

/// The architectures that are read, by their `model_type`.
#[must_use]
pub fn architectures() -> Vec<&'static str> {
    Architecture::names()
}

impl PartialEq for Architecture {
    fn eq(&self, other: &Self) -> bool {
        self.model_type == other.model_type
    }
}

/// Fields that change what other models compute, with the values at which they change nothing. One that
/// an architecture did not ask for is refused at any other value.
const NOT_HONOURED: [(&str, &[&str]); 18] = [
    ("quantization_config", &[]),
    ("add_cross_attention", &["false"]),
    ("is_encoder_decoder", &["false"]),
    ("use_bidirectional_attention", &["false"]),
    ("alibi", &["false"]),
    ("attn_logit_softcapping", &[]),
    ("final_logit_softcapping", &[]),
    ("attention_multiplier", &[]),
    ("embedding_multiplier", &["1", "1.0"]),
    ("residual_multiplier", &["1", "1.0"]),
    ("logits_scaling", &["1", "1.0"]),
    ("logit_scale", &["1", "1.0"]),
    ("clip_qkv", &[]),
    ("partial_rotary_factor", &["1", "1.0"]),
    ("no_rope_layers", &["[]"]),
    ("num_experts", &["0", "1"]),
    ("num_local_experts", &["0", "1"]),
    ("pruned_heads", &["{}"]),
];

impl Architecture {
    /// The architecture of a `config.json`, by its `model_type` or else its class.
    ///
    /// # Errors
    /// A message that names those that are supported.
    pub fn of(fields: &Fields<'_>) -> Result<&'static Self, String> {
        let model_type = fields.text("model_type")?;
        let Some(name) = model_type.or(fields.class()) else {
            return Err("model_type is missing: is this a language model's config?".into());
        };
        let found = ALL.into_iter().find(|architecture| {
            [
                architecture.model_type,
                architecture.base_model,
                architecture.language_model,
                architecture.reward_model,
            ]
            .contains(&name)
        });
        found.ok_or_else(|| not_known(name))
    }

    /// The `config.json` of a network of this architecture and these sizes.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn config(name: &str, sizes: &Sizes) -> Result<Value, String> {
        let found = ALL.iter().find(|known| known.model_type == name);
        let found = found.ok_or_else(|| not_known(name))?;
        let mut config = (found.fields_of)(sizes);
        config["model_type"] = found.model_type.into();
        config["architectures"] = [found.language_model].into();
        Ok(config)
    }

    /// The `model_type` of every architecture.
    #[must_use]
    pub fn names() -> Vec<&'static str> {
        ALL.iter()
            .map(|architecture| architecture.model_type)
            .collect()
    }

    /// What the network of a `config.json` is made of. A field that changes what is computed and that is
    /// not honoured is an error that names it.
    ///
    /// # Errors
    /// A message that names the field at fault.
    pub fn spec(&self, fields: &Fields<'_>) -> Result<ModelSpec, String> {
        let spec = (self.spec)(fields)?;
        for (key, value) in fields.not_asked() {
            let known = NOT_HONOURED.iter().find(|(name, _)| *name == key);
            if let Some((_, neutral)) = known
                && !neutral.contains(&value.to_string().as_str())
            {
                return Err(not_supported(&key, value));
            }
        }
        Ok(spec)
    }

    /// What a tensor is called.
    #[must_use]
    pub fn tensor(&self, tensor: &PartTensor) -> String {
        self.tensor_name(tensor.part, tensor.which)
    }

    /// What a tensor of a part is called.
    #[must_use]
    pub fn tensor_name(&self, part: Part, which: Which) -> String {
        let which = match which {
            Which::Weight => "weight",
            Which::Bias => "bias",
        };
        format!("{}.{which}", (self.name)(part))
    }
}

fn not_known(name: &str) -> String {
    let known = Architecture::names().join(", ");
    format!("model_type = {name:?} is not supported; {known} are")
}

/// A field at a value that is not honoured.
fn not_supported(key: &str, value: &Value) -> String {
    let mut value = value.to_string();
    if value.len() > 60 {
        value = "…".into();
    }
    match key {
        "quantization_config" => {
            "quantization_config: quantized checkpoints are not supported".into()
        }
        _ => format!("{key} = {value} is not supported: the model would compute something else"),
    }
}

/// The name of a tensor in a file, with the prefix of the trunk where a file of a bare trunk leaves it out;
/// none for a tensor that holds no weights, which the end of its name tells.
fn with_trunk(name: &str, trunk: &str, no_weights: &[&str]) -> Option<String> {
    if no_weights.iter().any(|end| name.ends_with(end)) {
        return None;
    }
    let whole = [trunk, "lm_head.", "embed_out.", "v_head.", "score."];
    let bare = !whole.iter().any(|prefix| name.starts_with(prefix));
    Some(if bare {
        format!("{trunk}{name}")
    } else {
        name.into()
    })
}

/// The width of a network and the number of its heads, from the fields of these names and defaults, where the
/// width is divided among the heads.
fn width_and_heads(
    fields: &Fields<'_>,
    (width_key, width): (&str, usize),
    (heads_key, heads): (&str, usize),
) -> Result<(usize, usize), String> {
    let width = fields.positive(width_key, width)?;
    let heads = fields.positive(heads_key, heads)?;
    if !width.is_multiple_of(heads) {
        return Err(format!(
            "{heads_key} = {heads} does not divide {width_key} = {width}"
        ));
    }
    Ok((width, heads))
}

const ACTIVATIONS: [(&str, Nonlinearity); 6] = [
    ("gelu_new", Nonlinearity::GeluNew),
    ("gelu_pytorch_tanh", Nonlinearity::GeluNew),
    ("gelu", Nonlinearity::Gelu),
    ("relu", Nonlinearity::Relu),
    ("silu", Nonlinearity::Silu),
    ("swish", Nonlinearity::Silu),
];

/// A nonlinearity by transformers' name of it.
fn activation(fields: &Fields<'_>, key: &str, default: &str) -> Result<Nonlinearity, String> {
    let name = fields.text(key)?.unwrap_or(default);
    let found = ACTIVATIONS.iter().find(|(known, _)| *known == name);
    let (_, activation) = found
        .ok_or_else(|| format!("{key} = {name:?} is not one of gelu_new, gelu, relu, silu"))?;
    Ok(*activation)
}
