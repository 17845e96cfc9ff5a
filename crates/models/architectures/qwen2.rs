//! Qwen 2 and 2.5 (Yang et al. 2024): Llama with biases on queries, keys and values, and windows in some
//! layers where `use_sliding_window` says so.

use super::rotary::{self, Defaults};
use super::{Architecture, FirstWeights, Sizes};
use crate::fields::Fields;
use crate::spec::ModelSpec;

/// Qwen 2.
pub(super) static QWEN2: Architecture = Architecture {
    model_type: "qwen2",
    base_model: "Qwen2Model",
    language_model: "Qwen2ForCausalLM",
    reward_model: "Qwen2ForSequenceClassification",
    spec,
    name: rotary::name,
    canonical: rotary::canonical,
    first_weights: FirstWeights::InitializerRange,
    fields_of: Sizes::fields,
};

/// What transformers takes where a field is absent, of Qwen 2 and 3.
pub(super) const DEFAULTS: Defaults = Defaults {
    vocab: 151_936,
    width: 4096,
    inner: 22_016,
    layers: 32,
    heads: 32,
    kv_heads: Some(32),
    head_width: None,
    context: 32_768,
    epsilon: 1e-6,
    tied: false,
    activation: ("hidden_act", "silu"),
};

fn spec(fields: &Fields<'_>) -> Result<ModelSpec, String> {
    let mut spec = rotary::spec(fields, &DEFAULTS, rotary::whole_rope)?;
    let windows = rotary::windows(fields, spec.blocks.len())?;
    for (block, window) in spec.blocks.iter_mut().zip(windows) {
        // Biases are part of the architecture: there is no field for them.
        block.attention.qkv_bias = true;
        block.attention.shape.window = window;
    }
    Ok(spec)
}
