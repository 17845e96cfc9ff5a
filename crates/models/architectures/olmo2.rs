//! OLMo 2 (Walsh et al. 2025): Llama with norms of what layers answer instead of what they read, and a norm of
//! all queries and of all keys before heads are split.

use super::rotary::{self, Defaults};
use super::{Architecture, FirstWeights, Sizes};
use crate::fields::Fields;
use crate::parts::{BlockPart, Part};
use crate::spec::{ModelSpec, NormPlace, QkNorm};

/// OLMo 2.
pub(super) static OLMO2: Architecture = Architecture {
    model_type: "olmo2",
    base_model: "Olmo2Model",
    language_model: "Olmo2ForCausalLM",
    reward_model: "Olmo2ForSequenceClassification",
    spec,
    name,
    canonical: rotary::canonical,
    first_weights: FirstWeights::InitializerRange,
    fields_of: Sizes::fields,
};

fn spec(fields: &Fields<'_>) -> Result<ModelSpec, String> {
    let defaults = Defaults {
        vocab: 50_304,
        width: 4096,
        inner: 11_008,
        layers: 32,
        heads: 32,
        kv_heads: None,
        head_width: None,
        context: 2048,
        epsilon: 1e-5,
        tied: false,
        activation: ("hidden_act", "silu"),
    };
    let mut spec = rotary::spec(fields, &defaults, rotary::whole_rope)?;
    let bias = fields.flag("attention_bias", false)?;
    for block in &mut spec.blocks {
        block.place = NormPlace::After;
        block.attention.qk_norm = QkNorm::Whole(block.norm);
        block.attention.qkv_bias = bias;
        block.attention.output_bias = bias;
    }
    Ok(spec)
}

fn name(part: Part) -> String {
    match part {
        Part::Block(layer, BlockPart::AttentionPostNorm) => {
            format!("model.layers.{layer}.post_attention_layernorm")
        }
        Part::Block(layer, BlockPart::MlpPostNorm) => {
            format!("model.layers.{layer}.post_feedforward_layernorm")
        }
        part => rotary::name(part),
    }
}
