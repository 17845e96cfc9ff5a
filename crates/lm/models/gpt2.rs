//! GPT-2 (Radford et al. 2019) as Hugging Face checkpoints have it.

use super::{Architecture, Part};
use crate::config::Fields;
use crate::parameters::SCORE_WEIGHT;
use crate::spec::{BlockSpec, ModelSpec};
use rayon::prelude::*;
use rlhf_device::{AttentionShape, Nonlinearity};
use rlhf_tensor::{Parameters, Rng, Stream};

/// GPT-2.
pub(crate) static GPT2: Architecture = Architecture {
    model_type: "gpt2",
    class_prefix: "GPT2",
    language_model: "GPT2LMHeadModel",
    reward_model: "GPT2ForSequenceClassification",
    spec,
    name,
    canonical,
    initialize,
};

const ACTIVATIONS: [(&str, Nonlinearity); 6] = [
    ("gelu_new", Nonlinearity::GeluNew),
    ("gelu_pytorch_tanh", Nonlinearity::GeluNew),
    ("gelu", Nonlinearity::Gelu),
    ("relu", Nonlinearity::Relu),
    ("silu", Nonlinearity::Silu),
    ("swish", Nonlinearity::Silu),
];

/// The fields that change what a GPT-2 computes, with the defaults that transformers gives them.
fn spec(fields: &Fields<'_>) -> Result<ModelSpec, String> {
    if fields.flag("add_cross_attention", false)? {
        return Err("add_cross_attention = true is not supported".into());
    }
    let width = fields.positive("n_embd", 768)?;
    let heads = fields.positive("n_head", 12)?;
    if width % heads != 0 {
        return Err(format!("n_head = {heads} does not divide n_embd = {width}"));
    }
    let context = match fields.get("n_positions") {
        Some(_) => fields.positive("n_positions", 1024)?,
        None => fields.positive("n_ctx", 1024)?,
    };
    let vocab = fields.positive("vocab_size", 50257)?;
    let name = fields.text("activation_function")?.unwrap_or("gelu_new");
    let found = ACTIVATIONS.iter().find(|(known, _)| *known == name);
    let (_, activation) = found.ok_or_else(|| {
        format!("activation_function = {name:?} is not one of gelu_new, gelu, relu, silu")
    })?;
    let epsilon = fields.number("layer_norm_epsilon", 1e-5)?;
    if !(epsilon > 0.0 && epsilon < 1.0) {
        return Err(format!(
            "layer_norm_epsilon = {epsilon} is not between 0 and 1"
        ));
    }
    let layers = fields.layers("n_layer", 12)?;
    let inner = fields.positive("n_inner", 4 * width)?;
    let tied = fields.flag("tie_word_embeddings", true)?;
    let by_width = fields.flag("scale_attn_weights", true)?;
    let by_layer = fields.flag("scale_attn_by_inverse_layer_idx", false)?;
    let head_width = width / heads;
    let block = |layer: usize| BlockSpec {
        attention: AttentionShape {
            heads,
            kv_heads: heads,
            head_width,
            scale: scale(by_width.then_some(head_width), by_layer.then_some(layer)),
            window: None,
        },
        inner,
        activation: *activation,
    };
    Ok(ModelSpec {
        vocab,
        context,
        width,
        norm_epsilon: epsilon as f32,
        blocks: (0..layers).map(block).collect(),
        tied,
    })
}

/// What attention scores are multiplied by: 1/√(head width), 1/(layer + 1), or their product.
fn scale(head_width: Option<usize>, layer: Option<usize>) -> f32 {
    let width = head_width.map_or(1.0, |width| (width as f32).sqrt());
    let depth = layer.map_or(1.0, |layer| (layer + 1) as f32);
    1.0 / (width * depth)
}

fn name(part: Part) -> String {
    let of_block = |layer: usize, part: &str| format!("transformer.h.{layer}.{part}");
    match part {
        Part::Tokens => "transformer.wte".into(),
        Part::Positions => "transformer.wpe".into(),
        Part::Norm1(layer) => of_block(layer, "ln_1"),
        Part::Qkv(layer) => of_block(layer, "attn.c_attn"),
        Part::AttentionOut(layer) => of_block(layer, "attn.c_proj"),
        Part::Norm2(layer) => of_block(layer, "ln_2"),
        Part::Inner(layer) => of_block(layer, "mlp.c_fc"),
        Part::InnerOut(layer) => of_block(layer, "mlp.c_proj"),
        Part::LastNorm => "transformer.ln_f".into(),
    }
}

/// Files of a bare trunk leave the first part of its names out. Older ones store the causal mask, which is
/// no weight.
fn canonical(name: &str) -> Option<String> {
    if name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias") {
        return None;
    }
    let whole = ["transformer.", "lm_head.", "v_head.", "score."];
    let bare = !whole.iter().any(|prefix| name.starts_with(prefix));
    Some(if bare {
        format!("transformer.{name}")
    } else {
        name.into()
    })
}

/// Fills parameters as GPT-2's are at the start: normal weights of deviation 0.02, residual
/// projections smaller by √(2·layers) (Radford et al. 2019, §2.3), norms 1 and biases 0; the heads
/// of one number 0, so that a new critic or reward model says nothing.
fn initialize(spec: &ModelSpec, parameters: &mut Parameters, seed: u64) {
    let residual = 0.02 / (2.0 * spec.blocks.len() as f64).sqrt();
    let names: Vec<String> = parameters.specs().map(|spec| spec.name.clone()).collect();
    for (index, (id, name)) in parameters.ids().zip(&names).enumerate() {
        let number = name == SCORE_WEIGHT || name.starts_with("v_head");
        let std = if number || name.ends_with("bias") {
            0.0
        } else if name.contains("ln_") {
            parameters.weights_mut(id).fill(1.0);
            continue;
        } else if name.ends_with("c_proj.weight") {
            residual
        } else {
            0.02
        };
        fill_normal(parameters.weights_mut(id), std, seed, index as u64);
    }
}

/// Normal values, piece by piece, each piece from a generator of its own: the same whichever thread
/// fills it.
fn fill_normal(values: &mut [f32], std: f64, seed: u64, index: u64) {
    let pieces = values.par_chunks_mut(1 << 16).enumerate();
    pieces.for_each(|(piece, values)| {
        let mut rng = Rng::new(seed, Stream::Init, index, piece as u64);
        values.fill_with(|| (std * rng.normal()) as f32);
    });
}
