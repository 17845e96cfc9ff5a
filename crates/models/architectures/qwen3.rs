//! Qwen 3 (Yang et al. 2025): Llama with a norm of each query and key head before the rotation, and a head
//! width of its own.

use super::qwen2::DEFAULTS;
use super::rotary::{self, Defaults};
use super::{Architecture, FirstWeights, Sizes};
use crate::fields::Fields;
use crate::spec::{ModelSpec, QkNorm};

/// Qwen 3.
pub(super) static QWEN3: Architecture = Architecture {
    model_type: "qwen3",
    base_model: "Qwen3Model",
    language_model: "Qwen3ForCausalLM",
    reward_model: "Qwen3ForSequenceClassification",
    spec,
    name: rotary::name,
    canonical: rotary::canonical,
    first_weights: FirstWeights::InitializerRange,
    fields_of: Sizes::fields_with_heads,
};

fn spec(fields: &Fields<'_>) -> Result<ModelSpec, String> {
    let defaults = Defaults {
        head_width: Some(128),
        ..DEFAULTS
    };
    let mut spec = rotary::spec(fields, &defaults, rotary::whole_rope)?;
    let windows = rotary::windows(fields, spec.blocks.len())?;
    let bias = fields.flag("attention_bias", false)?;
    for (block, window) in spec.blocks.iter_mut().zip(windows) {
        block.attention.qk_norm = QkNorm::PerHead(block.norm);
        block.attention.shape.window = window;
        block.attention.qkv_bias = bias;
        block.attention.output_bias = bias;
    }
    Ok(spec)
}
