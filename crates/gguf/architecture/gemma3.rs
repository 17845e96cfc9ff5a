//! The settings of Gemma 3: layers with a sliding window between layers without.

use super::decoder::{Head, IGNORED, common, decoder_with, tensors};
use super::rope::{Rope, Scaling};
use super::{Architecture, Keys, Metadata, tensor};
use crate::config::Config;
use crate::transform::Transform::{PlusOne, Same};
use crate::{GgufFile, Result, Value};
use serde_json::{Map, Value as Json, json};

/// Every sixth layer attends to the whole text, where a file does not say.
const PATTERN: u32 = 6;
/// The base of rotary positions of layers with a window, where a file does not say. Older versions of
/// llama.cpp know no other, and no other pattern.
const LOCAL_BASE: f64 = 10000.0;
const PATTERN_KEY: &str = "attention.sliding_window_pattern";
const BASE_KEY: &str = "rope.freq_base_swa";
/// The 27B model scales attention by its width over its heads, which llama.cpp knows by its layers.
const LAYERS_OF_27B: u32 = 62;

pub(super) static GEMMA3: Architecture = Architecture {
    gguf: "gemma3",
    model_type: "gemma3_text",
    class: "Gemma3ForCausalLM",
    prefix: "model.",
    aliases: &[],
    tensors: tensors!(
        Same,
        Same,
        PlusOne,
        [
            ("attn_norm", "input_layernorm"),
            ("post_attention_norm", "post_attention_layernorm"),
            ("ffn_norm", "pre_feedforward_layernorm"),
            ("post_ffw_norm", "post_feedforward_layernorm"),
            ("attn_q_norm", "self_attn.q_norm"),
            ("attn_k_norm", "self_attn.k_norm"),
        ]
    ),
    config,
    metadata,
    untied_by_default: false,
    ignored: IGNORED,
};

pub(super) fn config(file: &GgufFile) -> Result<Map<String, Json>> {
    let keys = Keys {
        file,
        architecture: "gemma3",
    };
    keys.refuse(&["attn_logit_softcapping", "final_logit_softcapping"])?;
    let mut config = common(&keys)?;
    let layers = keys.count("block_count")?;
    let kinds: Vec<&str> = windows(&keys, layers)?.into_iter().map(kind).collect();
    let scale = match layers {
        LAYERS_OF_27B => keys.count("embedding_length")? / keys.count("attention.head_count")?,
        _ => config["head_dim"].as_u64().unwrap_or(256) as u32,
    };
    config.remove("hidden_act");
    let more = json!({
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": scale,
        "sliding_window": keys.count("attention.sliding_window")?,
        "layer_types": kinds,
        "rope_local_base_freq": keys.float(BASE_KEY)?.unwrap_or(LOCAL_BASE),
        "attention_bias": false,
        "attn_logit_softcapping": null,
        "final_logit_softcapping": null,
    });
    config.extend(more.as_object().expect("an object").clone());
    super::decoder::refuse_biases(
        &keys,
        &["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate"],
    )?;
    Ok(config)
}

/// What `layer_types` calls a layer with a window, or one without.
fn kind(window: bool) -> &'static str {
    if window {
        "sliding_attention"
    } else {
        "full_attention"
    }
}

/// Which layers have a window, if each `pattern`-th has none.
fn periodic(layers: u32, pattern: u32) -> Vec<bool> {
    (1..=layers)
        .map(|layer| pattern == 0 || layer % pattern != 0)
        .collect()
}

/// Which layers of a file have a window.
fn windows(keys: &Keys<'_>, layers: u32) -> Result<Vec<bool>> {
    let key = keys.key(PATTERN_KEY);
    if let Some(Value::Array(_)) = keys.file.metadata().get(&key) {
        let windows = keys.file.numbers(&key)?.unwrap_or_default();
        if windows.len() != layers as usize {
            return Err(keys.file.invalid(format!(
                "`{key}` has {} values for {layers} layers: convert the model to GGUF again",
                windows.len()
            )));
        }
        return Ok(windows.into_iter().map(|window| window != 0.0).collect());
    }
    Ok(periodic(layers, keys.uint(PATTERN_KEY)?.unwrap_or(PATTERN)))
}

pub(super) fn metadata(config: &Config) -> Result<Metadata> {
    config.refuse_unless(&[
        ("hidden_activation", &[json!("gelu_pytorch_tanh")]),
        ("attention_bias", &[json!(false)]),
        ("attn_logit_softcapping", &[]),
        ("final_logit_softcapping", &[]),
        ("use_bidirectional_attention", &[json!(false)]),
    ])?;
    let (rope, local) = ropes(config)?;
    let layers = config.count("num_hidden_layers")?;
    let windows: Vec<bool> = match config.get("layer_types") {
        None => periodic(
            layers,
            config.uint("sliding_window_pattern")?.unwrap_or(PATTERN),
        ),
        Some(kinds) => {
            let kinds = kinds.as_array().map_or(&[][..], Vec::as_slice);
            kinds.iter().map(|layer| layer == kind(true)).collect()
        }
    };
    if windows.len() != layers as usize {
        return Err(config.invalid(format!("`layer_types` does not list {layers} layers")));
    }
    let mut writer = decoder_with(config, "gemma3", Head::Fixed(256), &rope)?;
    let head = config.uint("head_dim")?.unwrap_or(256);
    let scale = match layers {
        LAYERS_OF_27B => config.count("hidden_size")? / config.count("num_attention_heads")?,
        _ => head,
    };
    let given = config.float("query_pre_attn_scalar")?.unwrap_or(256.0);
    if given != f64::from(scale) {
        return Err(config.invalid(format!(
            "`query_pre_attn_scalar` is {given}, where llama.cpp takes {scale}: this model cannot be \
             exported"
        )));
    }
    writer.count("attention.sliding_window", config.count("sliding_window")?);
    let mut unusual = Vec::new();
    if windows != periodic(layers, PATTERN) {
        writer.put(PATTERN_KEY, Value::bools(&windows));
        unusual.push("which of its layers have a window");
    }
    if local != LOCAL_BASE {
        writer.float(BASE_KEY, local);
        unusual.push("the rope base of layers with a window");
    }
    for what in unusual {
        let note =
            format!("llama.cpp reads {what} since 2026; older versions compute something else");
        writer.metadata.notes.push(note);
    }
    Ok(writer.metadata)
}

/// The rotary positions of layers without a window, and the base of those with one.
fn ropes(config: &Config) -> Result<(Rope, f64)> {
    let by_layer = |kind: &str| match config.get("rope_parameters").map(|all| &all[kind]) {
        Some(Json::Object(parameters)) => Some(parameters.clone()),
        _ => None,
    };
    let (mut rope, local) = match by_layer("full_attention") {
        Some(parameters) => {
            let local = by_layer("sliding_attention").unwrap_or_default();
            let local = Rope::of_parameters(config, local)?;
            local.plain(|message| config.invalid(message))?;
            (Rope::of_parameters(config, parameters)?, local.base)
        }
        None => (
            Rope::of_config(config, "rope_theta")?,
            config.float("rope_local_base_freq")?,
        ),
    };
    if !matches!(rope.scaling, Scaling::None | Scaling::Linear { .. }) {
        rope.plain(|message| config.invalid(message))?;
    }
    rope.base = rope.base.or(Some(1e6));
    Ok((rope, local.unwrap_or(LOCAL_BASE)))
}
