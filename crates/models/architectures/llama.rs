//! Llama (Touvron et al. 2023), and what has its architecture: Llama 3.2, SmolLM2, TinyLlama.

use super::rotary::{self, Defaults};
use super::{Architecture, FirstWeights, Sizes};
use crate::fields::Fields;
use crate::spec::ModelSpec;

/// Llama.
pub(super) static LLAMA: Architecture = Architecture {
    model_type: "llama",
    base_model: "LlamaModel",
    language_model: "LlamaForCausalLM",
    reward_model: "LlamaForSequenceClassification",
    spec,
    name: rotary::name,
    canonical: rotary::canonical,
    first_weights: FirstWeights::InitializerRange,
    fields_of: Sizes::fields_with_heads,
};

fn spec(fields: &Fields<'_>) -> Result<ModelSpec, String> {
    let defaults = Defaults {
        vocab: 32_000,
        width: 4096,
        inner: 11_008,
        layers: 32,
        heads: 32,
        kv_heads: None,
        head_width: None,
        context: 2048,
        epsilon: 1e-6,
        tied: false,
        activation: ("hidden_act", "silu"),
    };
    let mut spec = rotary::spec(fields, &defaults, rotary::whole_rope)?;
    let attention_bias = fields.flag("attention_bias", false)?;
    let mlp_bias = fields.flag("mlp_bias", false)?;
    for block in &mut spec.blocks {
        block.attention.qkv_bias = attention_bias;
        block.attention.output_bias = attention_bias;
        block.mlp.bias = mlp_bias;
    }
    Ok(spec)
}
