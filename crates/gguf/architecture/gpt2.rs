//! GPT-2.

use super::{Architecture, Keys, Metadata, Tensor, Writer, tensor};
use crate::config::Config;
use crate::transform::Transform::Transposed;
use crate::{GgufFile, Result};
use serde_json::{Map, Value as Json, json};

pub(super) static GPT2: Architecture = Architecture {
    gguf: "gpt2",
    model_type: "gpt2",
    class: "GPT2LMHeadModel",
    prefix: "transformer.",
    aliases: &[],
    tensors: &TENSORS,
    config,
    metadata,
    untied_by_default: false,
    // Masks, not weights.
    ignored: &[".attn.bias", ".attn.masked_bias"],
};

static TENSORS: [Tensor; 17] = [
    tensor("token_embd.weight", "transformer.wte.weight"),
    tensor("position_embd.weight", "transformer.wpe.weight"),
    tensor("output_norm.weight", "transformer.ln_f.weight"),
    tensor("output_norm.bias", "transformer.ln_f.bias"),
    tensor("output.weight", "lm_head.weight").optional(),
    tensor("blk.{}.attn_norm.weight", "transformer.h.{}.ln_1.weight"),
    tensor("blk.{}.attn_norm.bias", "transformer.h.{}.ln_1.bias"),
    tensor(
        "blk.{}.attn_qkv.weight",
        "transformer.h.{}.attn.c_attn.weight",
    )
    .by(Transposed),
    tensor("blk.{}.attn_qkv.bias", "transformer.h.{}.attn.c_attn.bias"),
    tensor(
        "blk.{}.attn_output.weight",
        "transformer.h.{}.attn.c_proj.weight",
    )
    .by(Transposed),
    tensor(
        "blk.{}.attn_output.bias",
        "transformer.h.{}.attn.c_proj.bias",
    ),
    tensor("blk.{}.ffn_norm.weight", "transformer.h.{}.ln_2.weight"),
    tensor("blk.{}.ffn_norm.bias", "transformer.h.{}.ln_2.bias"),
    tensor("blk.{}.ffn_up.weight", "transformer.h.{}.mlp.c_fc.weight").by(Transposed),
    tensor("blk.{}.ffn_up.bias", "transformer.h.{}.mlp.c_fc.bias"),
    tensor(
        "blk.{}.ffn_down.weight",
        "transformer.h.{}.mlp.c_proj.weight",
    )
    .by(Transposed),
    tensor("blk.{}.ffn_down.bias", "transformer.h.{}.mlp.c_proj.bias"),
];

fn config(file: &GgufFile) -> Result<Map<String, Json>> {
    let keys = Keys {
        file,
        architecture: "gpt2",
    };
    let width = keys.count("embedding_length")?;
    let inner = keys
        .uint("feed_forward_length")?
        .filter(|inner| *inner != 4 * width);
    let epsilon = keys.float("attention.layer_norm_epsilon")?;
    let config = json!({
        "n_layer": keys.count("block_count")?,
        "n_positions": keys.count("context_length")?,
        "n_ctx": keys.count("context_length")?,
        "n_embd": width,
        "n_inner": inner,
        "n_head": keys.count("attention.head_count")?,
        "layer_norm_epsilon": epsilon.unwrap_or(1e-5),
        "activation_function": "gelu_new",
    });
    Ok(config.as_object().expect("an object").clone())
}

fn metadata(config: &Config) -> Result<Metadata> {
    config.refuse_unless(&[
        ("scale_attn_weights", &[json!(true)]),
        ("scale_attn_by_inverse_layer_idx", &[json!(false)]),
        ("add_cross_attention", &[json!(false)]),
        (
            "activation_function",
            &[json!("gelu_new"), json!("gelu_pytorch_tanh")],
        ),
    ])?;
    let width = config.count("n_embd")?;
    // As transformers and our reader take it where the file does not say.
    let context = match config.uint("n_positions")? {
        Some(_) => config.count("n_positions")?,
        None => config.uint("n_ctx")?.unwrap_or(1024),
    };
    let mut writer = Writer::new("gpt2");
    writer.count("context_length", context);
    writer.count("embedding_length", width);
    writer.count("block_count", config.count("n_layer")?);
    writer.count(
        "feed_forward_length",
        config.uint("n_inner")?.unwrap_or(4 * width),
    );
    writer.count("attention.head_count", config.count("n_head")?);
    let epsilon = config.float("layer_norm_epsilon")?;
    writer.float("attention.layer_norm_epsilon", epsilon.unwrap_or(1e-5));
    Ok(writer.metadata)
}
