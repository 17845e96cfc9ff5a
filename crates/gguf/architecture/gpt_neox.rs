//! GPT-NeoX, the architecture of Pythia.

use super::rope::Rope;
use super::{Architecture, Keys, Metadata, Tensor, Writer, tensor};
use crate::config::Config;
use crate::transform::Transform::HeadsOfQkv;
use crate::{GgufFile, Result, Value};
use serde_json::{Map, Value as Json, json};

pub(super) static GPT_NEOX: Architecture = Architecture {
    gguf: "gptneox",
    model_type: "gpt_neox",
    class: "GPTNeoXForCausalLM",
    prefix: "gpt_neox.",
    // The name of transformers 5.
    aliases: &[("lm_head.weight", "embed_out.weight")],
    tensors: &TENSORS,
    config,
    metadata,
    untied_by_default: true,
    // Masks and tables of older folders, not weights.
    ignored: &[
        ".attention.bias",
        ".attention.masked_bias",
        ".rotary_emb.inv_freq",
    ],
};

const NAME: &str = "gptneox";

static TENSORS: [Tensor; 16] = [
    tensor("token_embd.weight", "gpt_neox.embed_in.weight"),
    tensor("output_norm.weight", "gpt_neox.final_layer_norm.weight"),
    tensor("output_norm.bias", "gpt_neox.final_layer_norm.bias"),
    tensor("output.weight", "embed_out.weight").optional(),
    tensor(
        "blk.{}.attn_norm.weight",
        "gpt_neox.layers.{}.input_layernorm.weight",
    ),
    tensor(
        "blk.{}.attn_norm.bias",
        "gpt_neox.layers.{}.input_layernorm.bias",
    ),
    tensor(
        "blk.{}.attn_qkv.weight",
        "gpt_neox.layers.{}.attention.query_key_value.weight",
    )
    .by(HeadsOfQkv),
    tensor(
        "blk.{}.attn_qkv.bias",
        "gpt_neox.layers.{}.attention.query_key_value.bias",
    )
    .by(HeadsOfQkv),
    tensor(
        "blk.{}.attn_output.weight",
        "gpt_neox.layers.{}.attention.dense.weight",
    ),
    tensor(
        "blk.{}.attn_output.bias",
        "gpt_neox.layers.{}.attention.dense.bias",
    ),
    tensor(
        "blk.{}.ffn_norm.weight",
        "gpt_neox.layers.{}.post_attention_layernorm.weight",
    ),
    tensor(
        "blk.{}.ffn_norm.bias",
        "gpt_neox.layers.{}.post_attention_layernorm.bias",
    ),
    tensor(
        "blk.{}.ffn_up.weight",
        "gpt_neox.layers.{}.mlp.dense_h_to_4h.weight",
    ),
    tensor(
        "blk.{}.ffn_up.bias",
        "gpt_neox.layers.{}.mlp.dense_h_to_4h.bias",
    ),
    tensor(
        "blk.{}.ffn_down.weight",
        "gpt_neox.layers.{}.mlp.dense_4h_to_h.weight",
    ),
    tensor(
        "blk.{}.ffn_down.bias",
        "gpt_neox.layers.{}.mlp.dense_4h_to_h.bias",
    ),
];

fn config(file: &GgufFile) -> Result<Map<String, Json>> {
    let keys = Keys {
        file,
        architecture: NAME,
    };
    let (width, heads) = (
        keys.count("embedding_length")?,
        keys.count("attention.head_count")?,
    );
    let head = f64::from(width / heads);
    let rotary = f64::from(keys.count("rope.dimension_count")?);
    let epsilon = keys.float("attention.layer_norm_epsilon")?;
    let parallel = file.flag("gptneox.use_parallel_residual")?;
    Rope::of_file(&keys)?.plain(|message| file.invalid(message))?;
    let config = json!({
        "hidden_size": width,
        "intermediate_size": keys.count("feed_forward_length")?,
        "num_hidden_layers": keys.count("block_count")?,
        "num_attention_heads": heads,
        "max_position_embeddings": keys.count("context_length")?,
        "hidden_act": "gelu",
        "layer_norm_eps": epsilon.unwrap_or(1e-5),
        "rotary_pct": rotary / head,
        "rotary_emb_base": keys.float("rope.freq_base")?.unwrap_or(10000.0),
        "use_parallel_residual": parallel.unwrap_or(true),
        "attention_bias": true,
    });
    Ok(config.as_object().expect("an object").clone())
}

fn metadata(config: &Config) -> Result<Metadata> {
    config.refuse_unless(&[
        (
            "hidden_act",
            &["gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh"].map(|x| json!(x)),
        ),
        ("attention_bias", &[json!(true)]),
    ])?;
    let (width, heads) = (
        config.count("hidden_size")?,
        config.count("num_attention_heads")?,
    );
    let rope = Rope::of_config(config, "rotary_emb_base")?;
    rope.plain(|message| config.invalid(message))?;
    let part = match config.float("rotary_pct")? {
        Some(part) => part,
        None => rope.part.unwrap_or(0.25),
    };
    let parallel =
        config.get("use_parallel_residual").is_none() || config.flag("use_parallel_residual")?;
    let epsilon = config.float("layer_norm_eps")?;
    let mut writer = Writer::new(NAME);
    writer.count("context_length", config.count("max_position_embeddings")?);
    writer.count("embedding_length", width);
    writer.count("block_count", config.count("num_hidden_layers")?);
    writer.count("feed_forward_length", config.count("intermediate_size")?);
    writer.count(
        "rope.dimension_count",
        (part * f64::from(width / heads)) as u32,
    );
    writer.float("rope.freq_base", rope.base.unwrap_or(10000.0));
    writer.count("attention.head_count", heads);
    writer.put("use_parallel_residual", Value::Bool(parallel));
    writer.float("attention.layer_norm_epsilon", epsilon.unwrap_or(1e-5));
    if config.get("hidden_act").is_none_or(|act| act == "gelu") {
        let note = "llama.cpp approximates GELU by tanh: log-probs differ by some 1e-3";
        writer.metadata.notes.push(note.into());
    }
    Ok(writer.metadata)
}
