//! GPT-2 (Radford et al. 2019) as Hugging Face checkpoints have it.

use super::{Architecture, FirstWeights, Sizes, activation, width_and_heads, with_trunk};
use crate::fields::Fields;
use crate::parts::{BlockPart, Part};
use crate::spec::{
    AttentionSpec, BlockSpec, EmbeddingSpec, Gate, MlpSpec, ModelSpec, NormPlace, PositionSpec,
    Projection, QkNorm, Residual, WeightLayout,
};
use rlhf_device::{AttentionShape, Norm, NormKind};
use serde_json::{Value, json};

/// GPT-2.
pub(super) static GPT2: Architecture = Architecture {
    model_type: "gpt2",
    base_model: "GPT2Model",
    language_model: "GPT2LMHeadModel",
    reward_model: "GPT2ForSequenceClassification",
    spec,
    name,
    canonical,
    first_weights: FirstWeights::Gpt2,
    fields_of,
};

/// The fields that change what a GPT-2 computes, with the defaults that transformers gives them.
fn spec(fields: &Fields<'_>) -> Result<ModelSpec, String> {
    let (width, heads) = width_and_heads(fields, ("n_embd", 768), ("n_head", 12))?;
    let context = match fields.get("n_positions") {
        Some(_) => fields.positive("n_positions", 1024)?,
        None => fields.positive("n_ctx", 1024)?,
    };
    let vocab = fields.positive("vocab_size", 50257)?;
    let activation = activation(fields, "activation_function", "gelu_new")?;
    let norm = Norm {
        kind: NormKind::Layer,
        epsilon: fields.epsilon("layer_norm_epsilon", 1e-5)?,
        weight_offset: 0.0,
    };
    let layers = fields.layers("n_layer", 12)?;
    let inner = fields.positive("n_inner", 4 * width)?;
    let tied = fields.flag("tie_word_embeddings", true)?;
    let by_width = fields.flag("scale_attn_weights", true)?;
    let by_layer = fields.flag("scale_attn_by_inverse_layer_idx", false)?;
    let head_width = width / heads;
    let block = |layer: usize| BlockSpec {
        norm,
        place: NormPlace::Before,
        residual: Residual::Serial,
        attention: AttentionSpec {
            shape: AttentionShape {
                heads,
                kv_heads: heads,
                head_width,
                scale: scale(by_width.then_some(head_width), by_layer.then_some(layer)),
                window: None,
            },
            projection: Projection::Fused,
            qkv_bias: true,
            output_bias: true,
            qk_norm: QkNorm::None,
            rope: None,
        },
        mlp: MlpSpec {
            inner,
            activation,
            gate: Gate::None,
            bias: true,
        },
    };
    Ok(ModelSpec {
        vocab,
        context,
        width,
        embedding: EmbeddingSpec {
            scale: 1.0,
            positions: PositionSpec::Learned { offset: 0 },
        },
        blocks: (0..layers).map(block).collect(),
        final_norm: norm,
        tied,
        layout: WeightLayout::InOut,
    })
}

/// What attention scores are multiplied by: 1/√(head width), 1/(layer + 1), or their product.
fn scale(head_width: Option<usize>, layer: Option<usize>) -> f32 {
    let width = head_width.map_or(1.0, |width| (width as f32).sqrt());
    let depth = layer.map_or(1.0, |layer| (layer + 1) as f32);
    1.0 / (width * depth)
}

/// The fields that say the sizes of a network.
fn fields_of(sizes: &Sizes) -> Value {
    json!({
        "vocab_size": sizes.vocab,
        "n_positions": sizes.context,
        "n_embd": sizes.width,
        "n_layer": sizes.layers,
        "n_head": sizes.heads,
        "n_inner": sizes.inner,
    })
}

fn name(part: Part) -> String {
    match part {
        Part::Tokens => "transformer.wte".into(),
        Part::Positions => "transformer.wpe".into(),
        Part::FinalNorm => "transformer.ln_f".into(),
        Part::Head => "lm_head".into(),
        Part::Block(layer, part) => {
            let part = match part {
                BlockPart::AttentionNorm => "ln_1",
                BlockPart::Qkv => "attn.c_attn",
                BlockPart::AttentionOut => "attn.c_proj",
                BlockPart::MlpNorm => "ln_2",
                BlockPart::Up => "mlp.c_fc",
                BlockPart::Down => "mlp.c_proj",
                other => unreachable!("GPT-2 has no {other:?}"),
            };
            format!("transformer.h.{layer}.{part}")
        }
    }
}

/// Older files store the causal mask, which is no weight.
fn canonical(name: &str) -> Option<String> {
    with_trunk(name, "transformer.", &[".attn.bias", ".attn.masked_bias"])
}
