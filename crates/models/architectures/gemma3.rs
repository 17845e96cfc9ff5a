//! Gemma 3 (Gemma Team 2025), its text model: scaled embeddings, norms around each layer whose weights are
//! stored less 1, norms of query and key heads, and windows in all layers but every sixth, which rotate by
//! another base.

use super::rotary::{self, Defaults, Head, RopeFields};
use super::{Architecture, FirstWeights, Sizes};
use crate::fields::Fields;
use crate::parts::{BlockPart, Part};
use crate::rope::{RopeScaling, RopeSpec};
use crate::spec::{ModelSpec, NormPlace, QkNorm};
use rlhf_device::Norm;
use serde_json::Value;

/// Gemma 3.
pub(super) static GEMMA3: Architecture = Architecture {
    model_type: "gemma3_text",
    base_model: "Gemma3TextModel",
    language_model: "Gemma3ForCausalLM",
    reward_model: "Gemma3TextForSequenceClassification",
    spec,
    name,
    canonical: rotary::canonical,
    first_weights: FirstWeights::InitializerRange,
    fields_of,
};

fn spec(fields: &Fields<'_>) -> Result<ModelSpec, String> {
    let defaults = Defaults {
        vocab: 262_208,
        width: 2304,
        inner: 9216,
        layers: 26,
        heads: 8,
        kv_heads: Some(4),
        head_width: Some(256),
        context: 131_072,
        epsilon: 1e-6,
        tied: true,
        activation: ("hidden_activation", "gelu_pytorch_tanh"),
    };
    let mut spec = rotary::spec(fields, &defaults, rope_of_full_layers)?;
    let (layers, context) = (spec.blocks.len(), spec.context);
    let slides = match fields.words("layer_types", layers)? {
        Some(types) => rotary::slides(&types)?,
        None => {
            let period = fields.positive("sliding_window_pattern", 6)?;
            (1..=layers)
                .map(|layer| !layer.is_multiple_of(period))
                .collect()
        }
    };
    let window = fields.positive("sliding_window", 4096)?;
    let scale = 1.0 / (fields.above_zero("query_pre_attn_scalar", 256.0)? as f32).sqrt();
    let bias = fields.flag("attention_bias", false)?;
    let norm = Norm {
        weight_offset: 1.0,
        ..spec.final_norm
    };
    for (block, slides) in spec.blocks.iter_mut().zip(slides) {
        block.norm = norm;
        block.place = NormPlace::Both;
        let attention = &mut block.attention;
        attention.qk_norm = QkNorm::PerHead(norm);
        attention.shape.scale = scale;
        attention.qkv_bias = bias;
        attention.output_bias = bias;
        if slides {
            attention.shape.window = Some(window);
            let head = Head {
                width: attention.shape.head_width,
                context,
            };
            attention.rope = Some(rope_of_sliding_layers(fields, head)?);
        }
    }
    spec.final_norm = norm;
    spec.embedding.scale = (spec.width as f32).sqrt();
    Ok(spec)
}

/// The rotation in layers that see everything: the only one that `rope_scaling` of older files changes.
fn rope_of_full_layers(fields: &Fields<'_>, head: Head) -> Result<RopeSpec, String> {
    of_layers(fields, head, ("full_attention", "rope_theta", 1e6)).and_then(|found| match found {
        Some(rope) => Ok(rope),
        None => {
            let names = RopeFields {
                theta: ("rope_theta", 1e6),
                partial: ("partial_rotary_factor", 1.0),
            };
            rotary::rope(fields, head, &names)
        }
    })
}

/// The rotation in layers with a window.
fn rope_of_sliding_layers(fields: &Fields<'_>, head: Head) -> Result<RopeSpec, String> {
    let named = ("sliding_attention", "rope_local_base_freq", 1e4);
    match of_layers(fields, head, named)? {
        Some(rope) => Ok(rope),
        None => {
            let theta = fields.above_zero(named.1, named.2)?;
            rotary::rotation(head, (theta, 1.0), RopeScaling::None)
        }
    }
}

/// The rotation that `rope_parameters` has for one type of layer; none in older files.
fn of_layers(
    fields: &Fields<'_>,
    head: Head,
    (layers, theta, default): (&str, &str, f64),
) -> Result<Option<RopeSpec>, String> {
    if fields.object("rope_scaling")?.is_some() {
        return Ok(None);
    }
    let Some(all) = fields.object("rope_parameters")? else {
        return Ok(None);
    };
    let theta = fields.above_zero(theta, default)?;
    let Some(of) = all.object(layers)? else {
        let rope = rotary::rotation(head, (theta, 1.0), RopeScaling::None);
        return rope.map(Some);
    };
    let theta = of.above_zero("rope_theta", theta)?;
    let partial = of.above_zero("partial_rotary_factor", 1.0)?;
    let scaling = rotary::scaled(&of, fields, head.context)?;
    rotary::rotation(head, (theta, partial), scaling).map(Some)
}

/// The fields that say the sizes of a network.
fn fields_of(sizes: &Sizes) -> Value {
    let mut fields = sizes.fields_with_heads();
    fields["query_pre_attn_scalar"] = sizes.head_width().into();
    fields["sliding_window"] = 512.min(sizes.context).into();
    fields
}

fn name(part: Part) -> String {
    let Part::Block(layer, of_block) = part else {
        return rotary::name(part);
    };
    let norm = match of_block {
        BlockPart::AttentionPostNorm => "post_attention_layernorm",
        BlockPart::MlpNorm => "pre_feedforward_layernorm",
        BlockPart::MlpPostNorm => "post_feedforward_layernorm",
        _ => return rotary::name(part),
    };
    format!("model.layers.{layer}.{norm}")
}
