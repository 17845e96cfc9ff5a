//! OPT (Zhang et al. 2022): learned positions that begin at the third row of their table, and layer norms
//! before attention and the feed-forward layer. OPT-350m, which normalizes sums and projects its embeddings, is
//! refused.

use super::{Architecture, FirstWeights, Sizes, activation, width_and_heads, with_trunk};
use crate::fields::Fields;
use crate::parts::{BlockPart, Part};
use crate::spec::{
    AttentionSpec, BlockSpec, EmbeddingSpec, Gate, MlpSpec, ModelSpec, NormPlace, PositionSpec,
    Projection, QkNorm, Residual, WeightLayout,
};
use rlhf_device::{AttentionShape, Norm, NormKind};
use serde_json::{Value, json};

/// OPT.
pub(super) static OPT: Architecture = Architecture {
    model_type: "opt",
    base_model: "OPTModel",
    language_model: "OPTForCausalLM",
    reward_model: "OPTForSequenceClassification",
    spec,
    name,
    canonical,
    first_weights: FirstWeights::InitializerRange,
    fields_of,
};

/// The first rows of the table of positions, which belong to no position.
const OFFSET: usize = 2;

fn spec(fields: &Fields<'_>) -> Result<ModelSpec, String> {
    let (width, heads) =
        width_and_heads(fields, ("hidden_size", 768), ("num_attention_heads", 12))?;
    refuse_variants(fields, width)?;
    let bias = fields.flag("enable_bias", true)?;
    let norm = Norm {
        kind: NormKind::Layer,
        // torch's default, for which there is no field.
        epsilon: 1e-5,
        weight_offset: 0.0,
    };
    let block = BlockSpec {
        norm,
        place: NormPlace::Before,
        residual: Residual::Serial,
        attention: AttentionSpec {
            shape: AttentionShape {
                heads,
                kv_heads: heads,
                head_width: width / heads,
                scale: 1.0 / ((width / heads) as f32).sqrt(),
                window: None,
            },
            projection: Projection::Separate,
            qkv_bias: bias,
            output_bias: bias,
            qk_norm: QkNorm::None,
            rope: None,
        },
        mlp: MlpSpec {
            inner: fields.positive("ffn_dim", 3072)?,
            activation: activation(fields, "activation_function", "relu")?,
            gate: Gate::None,
            bias,
        },
    };
    Ok(ModelSpec {
        vocab: fields.positive("vocab_size", 50_272)?,
        context: fields.positive("max_position_embeddings", 2048)?,
        width,
        embedding: EmbeddingSpec {
            scale: 1.0,
            positions: PositionSpec::Learned { offset: OFFSET },
        },
        blocks: vec![block; fields.layers("num_hidden_layers", 12)?],
        final_norm: norm,
        tied: fields.flag("tie_word_embeddings", true)?,
        layout: WeightLayout::OutIn,
    })
}

/// What OPT-350m and Galactica have, and the others do not.
fn refuse_variants(fields: &Fields<'_>, width: usize) -> Result<(), String> {
    let projected = fields.positive("word_embed_proj_dim", width)?;
    if projected != width {
        return Err(format!(
            "word_embed_proj_dim = {projected} is not supported: it must be hidden_size = {width}"
        ));
    }
    for (key, supported) in [
        ("do_layer_norm_before", true),
        ("_remove_final_layer_norm", false),
        ("layer_norm_elementwise_affine", true),
    ] {
        if fields.flag(key, supported)? != supported {
            return Err(format!(
                "{key} = {} is not supported: {supported} is",
                !supported
            ));
        }
    }
    Ok(())
}

/// The fields that say the sizes of a network.
fn fields_of(sizes: &Sizes) -> Value {
    json!({
        "vocab_size": sizes.vocab,
        "max_position_embeddings": sizes.context,
        "hidden_size": sizes.width,
        "word_embed_proj_dim": sizes.width,
        "num_hidden_layers": sizes.layers,
        "num_attention_heads": sizes.heads,
        "ffn_dim": sizes.inner,
    })
}

fn name(part: Part) -> String {
    match part {
        Part::Tokens => "model.decoder.embed_tokens".into(),
        Part::Positions => "model.decoder.embed_positions".into(),
        Part::FinalNorm => "model.decoder.final_layer_norm".into(),
        Part::Head => "lm_head".into(),
        Part::Block(layer, part) => {
            let part = match part {
                BlockPart::AttentionNorm => "self_attn_layer_norm",
                BlockPart::Query => "self_attn.q_proj",
                BlockPart::Key => "self_attn.k_proj",
                BlockPart::Value => "self_attn.v_proj",
                BlockPart::AttentionOut => "self_attn.out_proj",
                BlockPart::MlpNorm => "final_layer_norm",
                BlockPart::Up => "fc1",
                BlockPart::Down => "fc2",
                other => unreachable!("OPT has no {other:?}"),
            };
            format!("model.decoder.layers.{layer}.{part}")
        }
    }
}

fn canonical(name: &str) -> Option<String> {
    with_trunk(name, "model.", &[])
}
