//! GPT-Neo (Black et al. 2021): GPT-2 with windows in every other layer, attention without 1/√d, and torch's
//! linear layers.

use super::{Architecture, FirstWeights, Sizes, activation, width_and_heads, with_trunk};
use crate::fields::Fields;
use crate::parts::{BlockPart, Part};
use crate::spec::{
    AttentionSpec, BlockSpec, EmbeddingSpec, Gate, MlpSpec, ModelSpec, NormPlace, PositionSpec,
    Projection, QkNorm, Residual, WeightLayout,
};
use rlhf_device::{AttentionShape, Norm, NormKind};
use serde_json::{Value, json};

/// GPT-Neo.
pub(super) static GPT_NEO: Architecture = Architecture {
    model_type: "gpt_neo",
    base_model: "GPTNeoModel",
    language_model: "GPTNeoForCausalLM",
    reward_model: "GPTNeoForSequenceClassification",
    spec,
    name,
    canonical,
    first_weights: FirstWeights::InitializerRange,
    fields_of,
};

fn spec(fields: &Fields<'_>) -> Result<ModelSpec, String> {
    let (width, heads) = width_and_heads(fields, ("hidden_size", 2048), ("num_heads", 16))?;
    let norm = Norm {
        kind: NormKind::Layer,
        epsilon: fields.epsilon("layer_norm_epsilon", 1e-5)?,
        weight_offset: 0.0,
    };
    let window = fields.positive("window_size", 256)?;
    let layers = fields.layers("num_layers", 24)?;
    let local = local_layers(fields, layers)?;
    let mlp = MlpSpec {
        inner: fields.positive("intermediate_size", 4 * width)?,
        activation: activation(fields, "activation_function", "gelu_new")?,
        gate: Gate::None,
        bias: true,
    };
    let block = |local: bool| BlockSpec {
        norm,
        place: NormPlace::Before,
        residual: Residual::Serial,
        attention: AttentionSpec {
            shape: AttentionShape {
                heads,
                kv_heads: heads,
                head_width: width / heads,
                scale: 1.0,
                window: local.then_some(window),
            },
            projection: Projection::Separate,
            qkv_bias: false,
            output_bias: true,
            qk_norm: QkNorm::None,
            rope: None,
        },
        mlp,
    };
    Ok(ModelSpec {
        vocab: fields.positive("vocab_size", 50_257)?,
        context: fields.positive("max_position_embeddings", 2048)?,
        width,
        embedding: EmbeddingSpec {
            scale: 1.0,
            positions: PositionSpec::Learned { offset: 0 },
        },
        blocks: local.into_iter().map(block).collect(),
        final_norm: norm,
        tied: fields.flag("tie_word_embeddings", true)?,
        layout: WeightLayout::OutIn,
    })
}

/// Which layers have a window: `attention_types` lists patterns and how often each is repeated.
fn local_layers(fields: &Fields<'_>, layers: usize) -> Result<Vec<bool>, String> {
    let wrong = || {
        "attention_types is not a list of patterns of \"global\" and \"local\" with how often each is \
         repeated, as [[[\"global\", \"local\"], 12]]"
            .to_string()
    };
    let default = json!([[["global", "local"], 12]]);
    let types = fields.get("attention_types").unwrap_or(&default);
    let mut local = Vec::new();
    for item in types.as_array().ok_or_else(wrong)? {
        let pattern = item.get(0).and_then(Value::as_array).ok_or_else(wrong)?;
        let times = item.get(1).and_then(Value::as_u64).ok_or_else(wrong)?;
        let kind = |word: &Value| match word.as_str() {
            Some("global") => Ok(false),
            Some("local") => Ok(true),
            _ => Err(wrong()),
        };
        let pattern: Vec<bool> = pattern.iter().map(kind).collect::<Result<_, _>>()?;
        for _ in 0..times {
            local.extend(&pattern);
            if local.len() > layers || pattern.is_empty() {
                break;
            }
        }
    }
    if local.len() != layers {
        return Err(format!(
            "attention_types describes {} layers or more, but num_layers = {layers}",
            local.len()
        ));
    }
    Ok(local)
}

/// The fields that say the sizes of a network.
fn fields_of(sizes: &Sizes) -> Value {
    json!({
        "vocab_size": sizes.vocab,
        "max_position_embeddings": sizes.context,
        "hidden_size": sizes.width,
        "num_layers": sizes.layers,
        "num_heads": sizes.heads,
        "intermediate_size": sizes.inner,
        "attention_types": [[["global", "local"], sizes.layers / 2], [["global"], sizes.layers % 2]],
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
                BlockPart::Query => "attn.attention.q_proj",
                BlockPart::Key => "attn.attention.k_proj",
                BlockPart::Value => "attn.attention.v_proj",
                BlockPart::AttentionOut => "attn.attention.out_proj",
                BlockPart::MlpNorm => "ln_2",
                BlockPart::Up => "mlp.c_fc",
                BlockPart::Down => "mlp.c_proj",
                other => unreachable!("GPT-Neo has no {other:?}"),
            };
            format!("transformer.h.{layer}.{part}")
        }
    }
}

/// Older files store the causal mask, which is no weight.
fn canonical(name: &str) -> Option<String> {
    let no_weights = [".attn.attention.bias", ".attn.attention.masked_bias"];
    with_trunk(name, "transformer.", &no_weights)
}
