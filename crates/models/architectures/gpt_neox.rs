//! GPT-NeoX (Black et al. 2022), which the Pythia models are: layer norms, rotary positions on a part of each
//! head, and a feed-forward layer parallel to attention.

use super::rotary::{self, Head, RopeFields};
use super::{Architecture, FirstWeights, Sizes, activation, width_and_heads, with_trunk};
use crate::fields::Fields;
use crate::parts::{BlockPart, Part};
use crate::spec::{
    AttentionSpec, BlockSpec, EmbeddingSpec, Gate, MlpSpec, ModelSpec, NormPlace, PositionSpec,
    Projection, QkNorm, Residual, WeightLayout,
};
use rlhf_device::{AttentionShape, Norm, NormKind};

/// GPT-NeoX.
pub(super) static GPT_NEOX: Architecture = Architecture {
    model_type: "gpt_neox",
    base_model: "GPTNeoXModel",
    language_model: "GPTNeoXForCausalLM",
    reward_model: "GPTNeoXForSequenceClassification",
    spec,
    name,
    canonical,
    first_weights: FirstWeights::InitializerRange,
    fields_of: Sizes::fields,
};

fn spec(fields: &Fields<'_>) -> Result<ModelSpec, String> {
    let (width, heads) =
        width_and_heads(fields, ("hidden_size", 6144), ("num_attention_heads", 64))?;
    let (head_width, context) = (
        width / heads,
        fields.positive("max_position_embeddings", 2048)?,
    );
    let norm = Norm {
        kind: NormKind::Layer,
        epsilon: fields.epsilon("layer_norm_eps", 1e-5)?,
        weight_offset: 0.0,
    };
    let bias = fields.flag("attention_bias", true)?;
    let head = Head {
        width: head_width,
        context,
    };
    let names = RopeFields {
        theta: ("rotary_emb_base", 10_000.0),
        partial: ("rotary_pct", 0.25),
    };
    let block = BlockSpec {
        norm,
        place: NormPlace::Before,
        residual: if fields.flag("use_parallel_residual", true)? {
            Residual::Parallel
        } else {
            Residual::Serial
        },
        attention: AttentionSpec {
            shape: AttentionShape {
                heads,
                kv_heads: heads,
                head_width,
                scale: 1.0 / (head_width as f32).sqrt(),
                window: None,
            },
            projection: Projection::FusedByHead,
            qkv_bias: bias,
            output_bias: bias,
            qk_norm: QkNorm::None,
            rope: Some(rotary::rope(fields, head, &names)?),
        },
        mlp: MlpSpec {
            inner: fields.positive("intermediate_size", 24_576)?,
            activation: activation(fields, "hidden_act", "gelu")?,
            gate: Gate::None,
            bias: true,
        },
    };
    Ok(ModelSpec {
        vocab: fields.positive("vocab_size", 50_432)?,
        context,
        width,
        embedding: EmbeddingSpec {
            scale: 1.0,
            positions: PositionSpec::Rotary,
        },
        blocks: vec![block; fields.layers("num_hidden_layers", 44)?],
        final_norm: norm,
        tied: fields.flag("tie_word_embeddings", false)?,
        layout: WeightLayout::OutIn,
    })
}

fn name(part: Part) -> String {
    match part {
        Part::Tokens => "gpt_neox.embed_in".into(),
        Part::FinalNorm => "gpt_neox.final_layer_norm".into(),
        Part::Head => "embed_out".into(),
        Part::Positions => unreachable!("rotary positions have no table"),
        Part::Block(layer, part) => {
            let part = match part {
                BlockPart::AttentionNorm => "input_layernorm",
                BlockPart::Qkv => "attention.query_key_value",
                BlockPart::AttentionOut => "attention.dense",
                BlockPart::MlpNorm => "post_attention_layernorm",
                BlockPart::Up => "mlp.dense_h_to_4h",
                BlockPart::Down => "mlp.dense_4h_to_h",
                other => unreachable!("GPT-NeoX has no {other:?}"),
            };
            format!("gpt_neox.layers.{layer}.{part}")
        }
    }
}

/// Older files store the causal mask and the frequencies of the rotation, which are no weights. The head is
/// `embed_out` in files, and `lm_head` in transformers 5, which reads either.
fn canonical(name: &str) -> Option<String> {
    if name == "lm_head.weight" {
        return Some("embed_out.weight".into());
    }
    let no_weights = [
        ".attention.bias",
        ".attention.masked_bias",
        ".rotary_emb.inv_freq",
    ];
    with_trunk(name, "gpt_neox.", &no_weights)
}
