//! The family of Llama: RMS norms, rotary positions, gated MLPs.

use super::rope::Rope;
use super::{Architecture, Keys, Writer, tensor};
use crate::Result;
use crate::config::Config;
use crate::transform::Transform::{KeyPairs, QueryPairs, Same};
use serde_json::{Map, Value as Json, json};

/// What all of the family have, then what one of them has besides.
macro_rules! tensors {
    ($query:expr, $key:expr, $norm:expr, [$(($gguf:literal, $folder:literal)),* $(,)?]) => {
        &[
            tensor("token_embd.weight", "model.embed_tokens.weight"),
            tensor("output_norm.weight", "model.norm.weight").by($norm),
            tensor("output.weight", "lm_head.weight").optional(),
            tensor("blk.{}.attn_q.weight", "model.layers.{}.self_attn.q_proj.weight").by($query),
            tensor("blk.{}.attn_k.weight", "model.layers.{}.self_attn.k_proj.weight").by($key),
            tensor("blk.{}.attn_v.weight", "model.layers.{}.self_attn.v_proj.weight"),
            tensor("blk.{}.attn_output.weight", "model.layers.{}.self_attn.o_proj.weight"),
            tensor("blk.{}.ffn_gate.weight", "model.layers.{}.mlp.gate_proj.weight"),
            tensor("blk.{}.ffn_up.weight", "model.layers.{}.mlp.up_proj.weight"),
            tensor("blk.{}.ffn_down.weight", "model.layers.{}.mlp.down_proj.weight"),
            tensor("blk.{}.attn_q.bias", "model.layers.{}.self_attn.q_proj.bias").by($query).optional(),
            tensor("blk.{}.attn_k.bias", "model.layers.{}.self_attn.k_proj.bias").by($key).optional(),
            tensor("blk.{}.attn_v.bias", "model.layers.{}.self_attn.v_proj.bias").optional(),
            tensor("blk.{}.attn_output.bias", "model.layers.{}.self_attn.o_proj.bias").optional(),
            tensor("blk.{}.ffn_gate.bias", "model.layers.{}.mlp.gate_proj.bias").optional(),
            tensor("blk.{}.ffn_up.bias", "model.layers.{}.mlp.up_proj.bias").optional(),
            tensor("blk.{}.ffn_down.bias", "model.layers.{}.mlp.down_proj.bias").optional(),
            $(tensor(
                concat!("blk.{}.", $gguf, ".weight"),
                concat!("model.layers.{}.", $folder, ".weight"),
            ).by($norm)),*
        ]
    };
}

pub(super) use tensors;

/// What older folders have besides weights.
pub(super) const IGNORED: &[&str] = &[".rotary_emb.inv_freq"];

pub(super) static LLAMA: Architecture = Architecture {
    gguf: "llama",
    model_type: "llama",
    class: "LlamaForCausalLM",
    prefix: "model.",
    aliases: &[],
    tensors: tensors!(
        QueryPairs,
        KeyPairs,
        Same,
        [
            ("attn_norm", "input_layernorm"),
            ("ffn_norm", "post_attention_layernorm")
        ]
    ),
    config: |file| {
        let keys = Keys {
            file,
            architecture: "llama",
        };
        keys.refuse(&[
            "expert_count",
            "attention.sliding_window",
            "attention.scale",
            "logit_scale",
        ])?;
        let mut config = common(&keys)?;
        config.insert(
            "attention_bias".into(),
            all_or_none(&keys, &ATTENTION_BIASES)?.into(),
        );
        config.insert("mlp_bias".into(), all_or_none(&keys, &MLP_BIASES)?.into());
        Ok(config)
    },
    metadata: |config| {
        config.refuse_unless(&[("hidden_act", &[json!("silu")])])?;
        Ok(decoder(config, "llama", Head::Divided)?.metadata)
    },
    untied_by_default: true,
    ignored: IGNORED,
};

pub(super) static QWEN2: Architecture = Architecture {
    gguf: "qwen2",
    model_type: "qwen2",
    class: "Qwen2ForCausalLM",
    prefix: "model.",
    aliases: &[],
    tensors: tensors!(
        Same,
        Same,
        Same,
        [
            ("attn_norm", "input_layernorm"),
            ("ffn_norm", "post_attention_layernorm")
        ]
    ),
    config: |file| {
        let keys = Keys {
            file,
            architecture: "qwen2",
        };
        keys.refuse(&["attention.sliding_window"])?;
        refuse_biases(&keys, &MLP_BIASES)?;
        refuse_biases(&keys, &ATTENTION_BIASES[3..])?;
        if !all_or_none(&keys, &ATTENTION_BIASES[..3])? {
            return Err(
                file.invalid("has no tensor `blk.0.attn_q.bias`, which a qwen2 model needs")
            );
        }
        let mut config = common(&keys)?;
        config.insert("use_sliding_window".into(), false.into());
        Ok(config)
    },
    metadata: |config| {
        config.refuse_unless(&[
            ("hidden_act", &[json!("silu")]),
            ("use_sliding_window", &[json!(false)]),
        ])?;
        Ok(decoder(config, "qwen2", Head::Divided)?.metadata)
    },
    untied_by_default: true,
    ignored: IGNORED,
};

pub(super) static QWEN3: Architecture = Architecture {
    gguf: "qwen3",
    model_type: "qwen3",
    class: "Qwen3ForCausalLM",
    prefix: "model.",
    aliases: &[],
    tensors: tensors!(
        Same,
        Same,
        Same,
        [
            ("attn_norm", "input_layernorm"),
            ("ffn_norm", "post_attention_layernorm"),
            ("attn_q_norm", "self_attn.q_norm"),
            ("attn_k_norm", "self_attn.k_norm"),
        ]
    ),
    config: |file| {
        let keys = Keys {
            file,
            architecture: "qwen3",
        };
        keys.refuse(&["attention.sliding_window"])?;
        refuse_biases(&keys, &MLP_BIASES)?;
        let mut config = common(&keys)?;
        config.insert(
            "attention_bias".into(),
            all_or_none(&keys, &ATTENTION_BIASES)?.into(),
        );
        config.insert("use_sliding_window".into(), false.into());
        Ok(config)
    },
    metadata: |config| {
        config.refuse_unless(&[
            ("hidden_act", &[json!("silu")]),
            ("attention_bias", &[json!(false)]),
            ("use_sliding_window", &[json!(false)]),
        ])?;
        Ok(decoder(config, "qwen3", Head::Fixed(128))?.metadata)
    },
    untied_by_default: true,
    ignored: IGNORED,
};

pub(super) static OLMO2: Architecture = Architecture {
    gguf: "olmo2",
    model_type: "olmo2",
    class: "Olmo2ForCausalLM",
    prefix: "model.",
    aliases: &[],
    tensors: tensors!(
        Same,
        Same,
        Same,
        [
            ("post_attention_norm", "post_attention_layernorm"),
            ("post_ffw_norm", "post_feedforward_layernorm"),
            ("attn_q_norm", "self_attn.q_norm"),
            ("attn_k_norm", "self_attn.k_norm"),
        ]
    ),
    config: |file| {
        let keys = Keys {
            file,
            architecture: "olmo2",
        };
        keys.refuse(&["attention.sliding_window"])?;
        refuse_biases(&keys, &MLP_BIASES)?;
        refuse_biases(&keys, &ATTENTION_BIASES)?;
        let mut config = common(&keys)?;
        config.insert("attention_bias".into(), false.into());
        Ok(config)
    },
    metadata: |config| {
        config.refuse_unless(&[
            ("hidden_act", &[json!("silu")]),
            ("attention_bias", &[json!(false)]),
        ])?;
        Ok(decoder(config, "olmo2", Head::Divided)?.metadata)
    },
    untied_by_default: true,
    ignored: IGNORED,
};

const ATTENTION_BIASES: [&str; 4] = ["attn_q", "attn_k", "attn_v", "attn_output"];
const MLP_BIASES: [&str; 3] = ["ffn_gate", "ffn_up", "ffn_down"];

/// Whether the first layer has these biases; it must have all of them or none.
fn all_or_none(keys: &Keys<'_>, names: &[&str]) -> Result<bool> {
    let name = |name: &&str| format!("blk.0.{name}.bias");
    let found: Vec<bool> = names.iter().map(|other| keys.has(&name(other))).collect();
    match found.iter().position(|found| !found) {
        None => Ok(true),
        Some(_) if !found.contains(&true) => Ok(false),
        Some(missing) => Err(keys.file.invalid(format!(
            "has some biases, but no tensor `{}`: config.json cannot describe such a model",
            name(&names[missing])
        ))),
    }
}

/// Refuses biases that `config.json` cannot describe.
pub(super) fn refuse_biases(keys: &Keys<'_>, names: &[&str]) -> Result<()> {
    let mut names = names.iter().map(|name| format!("blk.0.{name}.bias"));
    match names.find(|name| keys.has(name)) {
        None => Ok(()),
        Some(name) => Err(keys.file.invalid(format!(
            "has a tensor `{name}`, which no {} model has: convert the model to GGUF again",
            keys.architecture
        ))),
    }
}

/// How wide a head is where `config.json` does not say.
#[derive(Debug, Clone, Copy)]
pub(super) enum Head {
    /// The width over the number of heads.
    Divided,
    /// This, by the default of transformers' class.
    Fixed(u32),
}

/// The settings that all of the family have, out of a file.
pub(super) fn common(keys: &Keys<'_>) -> Result<Map<String, Json>> {
    let (width, heads) = (
        keys.count("embedding_length")?,
        keys.count("attention.head_count")?,
    );
    let kv_heads = keys.uint("attention.head_count_kv")?.unwrap_or(heads);
    if kv_heads == 0 || heads % kv_heads != 0 {
        return Err(keys.file.invalid(format!(
            "`{0}.attention.head_count_kv` is {kv_heads}, which does not divide \
             `{0}.attention.head_count` {heads}: convert the model to GGUF again",
            keys.architecture
        )));
    }
    let rotary = keys.uint("rope.dimension_count")?;
    let head = keys
        .uint("attention.key_length")?
        .or(rotary)
        .unwrap_or(width / heads);
    let value = keys.uint("attention.value_length")?.unwrap_or(head);
    if rotary.unwrap_or(head) != head || value != head || head == 0 {
        return Err(keys.file.invalid(format!(
            "has heads of {head} numbers whose values have {value} and of which {} are rotated: such \
             models cannot be imported",
            rotary.unwrap_or(head)
        )));
    }
    let context = keys.count("context_length")?;
    let mut rope = Rope::of_file(keys)?;
    rope.find_factors(keys, head, context)?;
    let epsilon = keys.float("attention.layer_norm_rms_epsilon")?;
    let epsilon_key = keys.key("attention.layer_norm_rms_epsilon");
    let config = json!({
        "hidden_size": width,
        "intermediate_size": keys.count("feed_forward_length")?,
        "num_hidden_layers": keys.count("block_count")?,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head,
        "hidden_act": "silu",
        "max_position_embeddings": context,
        "rms_norm_eps": keys.file.required(&epsilon_key, Ok(epsilon))?,
        "rope_theta": rope.base.unwrap_or(10000.0),
        "rope_scaling": rope.json(),
    });
    Ok(config.as_object().expect("an object").clone())
}

/// The metadata that all of the family have.
pub(super) fn decoder<'a>(config: &Config, name: &'a str, head: Head) -> Result<Writer<'a>> {
    let rope = Rope::of_config(config, "rope_theta")?;
    decoder_with(config, name, head, &rope)
}

/// As [`decoder`], with rotary positions that an architecture reads its own way.
pub(super) fn decoder_with<'a>(
    config: &Config,
    name: &'a str,
    head: Head,
    rope: &Rope,
) -> Result<Writer<'a>> {
    let (width, heads) = (
        config.count("hidden_size")?,
        config.count("num_attention_heads")?,
    );
    let kv_heads = config.uint("num_key_value_heads")?.unwrap_or(heads);
    if kv_heads == 0 || heads % kv_heads != 0 {
        return Err(config.invalid(format!(
            "`num_key_value_heads` is {kv_heads}, which does not divide `num_attention_heads` {heads}"
        )));
    }
    let head = config.uint("head_dim")?.unwrap_or(match head {
        Head::Divided => width / heads,
        Head::Fixed(head) => head,
    });
    config.refuse_unless(&[("partial_rotary_factor", &[json!(1.0), json!(1)])])?;
    if rope.part.is_some_and(|part| part != 1.0) {
        return Err(
            config.invalid("`partial_rotary_factor` is not 1: this model cannot be exported")
        );
    }
    if matches!(rope.scaling, super::rope::Scaling::Llama3 { .. }) && name != "llama" {
        let message =
            "rope type \"llama3\" is llama's alone in llama.cpp: this model cannot be exported";
        return Err(config.invalid(message));
    }
    let context = config.count("max_position_embeddings")?;
    let mut writer = Writer::new(name);
    writer.count("context_length", context);
    writer.count("embedding_length", width);
    writer.count("block_count", config.count("num_hidden_layers")?);
    writer.count("feed_forward_length", config.count("intermediate_size")?);
    writer.count("attention.head_count", heads);
    writer.count("attention.head_count_kv", kv_heads);
    writer.count("attention.key_length", head);
    writer.count("attention.value_length", head);
    writer.count("rope.dimension_count", head);
    rope.write(&mut writer, head, context);
    let epsilon = config.float("rms_norm_eps")?;
    writer.float("attention.layer_norm_rms_epsilon", epsilon.unwrap_or(1e-6));
    Ok(writer)
}
