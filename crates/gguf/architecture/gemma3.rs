//! The settings of Gemma 3: layers with a sliding window between layers without.

use super::decoder::{Head, common, decoder_with};
use super::rope::{Rope, Scaling};
use super::{Keys, Metadata};
use crate::config::Config;
use crate::{GgufFile, Result, Value};
use serde_json::{Map, Value as Json, json};

/// Every sixth layer attends to the whole text.
const PATTERN: u32 = 6;
/// The base of rotary positions of layers with a window, which older llama.cpp has in its code.
const LOCAL_BASE: f64 = 10000.0;
/// The 27B model scales attention by its width over its heads, which llama.cpp knows by its layers.
const LAYERS_OF_27B: u32 = 62;

pub(super) fn config(file: &GgufFile) -> Result<Map<String, Json>> {
    let keys = Keys {
        file,
        architecture: "gemma3",
    };
    keys.refuse(&["attn_logit_softcapping", "final_logit_softcapping"])?;
    let mut config = common(&keys)?;
    let layers = keys.count("block_count")?;
    let pattern = match file
        .metadata()
        .get("gemma3.attention.sliding_window_pattern")
    {
        Some(Value::Array(_)) => {
            let message = "`gemma3.attention.sliding_window_pattern` is a list, which is not read";
            return Err(file.invalid(message));
        }
        _ => keys
            .uint("attention.sliding_window_pattern")?
            .unwrap_or(PATTERN)
            .max(1),
    };
    let kinds = (1..=layers).map(|layer| match layer % pattern {
        0 => "full_attention",
        _ => "sliding_attention",
    });
    let scale = match layers {
        LAYERS_OF_27B => keys.count("embedding_length")? / keys.count("attention.head_count")?,
        _ => config["head_dim"].as_u64().unwrap_or(256) as u32,
    };
    config.remove("hidden_act");
    let more = json!({
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": scale,
        "sliding_window": keys.count("attention.sliding_window")?,
        "sliding_window_pattern": pattern,
        "layer_types": kinds.collect::<Vec<_>>(),
        "rope_local_base_freq": keys.float("rope.freq_base_swa")?.unwrap_or(LOCAL_BASE),
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

pub(super) fn metadata(config: &Config) -> Result<Metadata> {
    config.refuse_unless(&[
        ("hidden_activation", &[json!("gelu_pytorch_tanh")]),
        ("attention_bias", &[json!(false)]),
        ("attn_logit_softcapping", &[]),
        ("final_logit_softcapping", &[]),
        ("use_bidirectional_attention", &[json!(false)]),
    ])?;
    let (rope, local) = ropes(config)?;
    if local != LOCAL_BASE {
        return Err(config.invalid(format!(
            "the rope base of layers with a window is {local}, where llama.cpp has {LOCAL_BASE}: this \
             model cannot be exported"
        )));
    }
    let layers = config.count("num_hidden_layers")?;
    if let Some(kinds) = config.get("layer_types").and_then(Json::as_array) {
        let full = |layer: usize| (layer as u32 + 1).is_multiple_of(PATTERN);
        let usual = |(layer, kind): (usize, &Json)| (kind == "full_attention") == full(layer);
        if !kinds.iter().enumerate().all(usual) {
            return Err(config.invalid(
                "`layer_types` is not five layers with a window before each without, as llama.cpp has \
                 them: this model cannot be exported",
            ));
        }
    } else {
        config.refuse_unless(&[("sliding_window_pattern", &[json!(PATTERN)])])?;
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
