//! Fields of `config.json` that are refused, and how they are named.

use crate::{Architecture, Fields, ModelSpec};
use serde_json::{Value, json};

fn read(config: &Value) -> Result<(&'static Architecture, ModelSpec), String> {
    let fields = Fields::new(config.as_object().unwrap());
    let architecture = Architecture::of(&fields)?;
    Ok((architecture, architecture.spec(&fields)?))
}

fn of(model_type: &str, fields: Value) -> Result<ModelSpec, String> {
    let mut config = json!({"model_type": model_type, "vocab_size": 61, "hidden_size": 24,
        "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 3,
        "num_key_value_heads": 3, "head_dim": 8, "max_position_embeddings": 64});
    for (key, value) in fields.as_object().unwrap() {
        config[key] = value.clone();
    }
    Ok(read(&config)?.1)
}

#[test]
fn what_cannot_be_computed_is_named() {
    for (model_type, fields, named) in [
        (
            "llama",
            json!({"num_key_value_heads": 2}),
            "num_key_value_heads = 2 does not divide",
        ),
        (
            "llama",
            json!({"head_dim": null, "num_attention_heads": 5, "num_key_value_heads": 5}),
            "does not divide hidden_size = 24",
        ),
        ("llama", json!({"head_dim": 7}), "even number"),
        (
            "llama",
            json!({"rope_scaling": {"rope_type": "longrope"}}),
            "\"longrope\"",
        ),
        (
            "llama",
            json!({"rope_scaling": {"type": "linear"}}),
            "rope_scaling.factor is missing",
        ),
        (
            "llama",
            json!({"rope_scaling": {"type": "linear", "factor": 0}}),
            "rope_scaling.factor = 0",
        ),
        (
            "llama",
            json!({"rope_parameters": {"rope_type": "yarn", "factor": 4, "attention_factor": -1}}),
            "rope_parameters.attention_factor",
        ),
        (
            "llama",
            json!({"rope_parameters": {"rope_type": "llama3", "factor": 4, "low_freq_factor": 4,
            "high_freq_factor": 1}}),
            "low_freq_factor = 4 is not below",
        ),
        (
            "llama",
            json!({"rope_parameters": {"mrope_section": [1, 2, 1]}}),
            "mrope_section",
        ),
        (
            "llama",
            json!({"rope_parameters": [1]}),
            "rope_parameters = [1] is not an object",
        ),
        ("llama", json!({"rope_theta": -1}), "rope_theta = -1"),
        (
            "llama",
            json!({"partial_rotary_factor": 0.5}),
            "partial_rotary_factor",
        ),
        (
            "llama",
            json!({"hidden_act": "mish"}),
            "hidden_act = \"mish\"",
        ),
        (
            "llama",
            json!({"num_local_experts": 8}),
            "num_local_experts = 8",
        ),
        (
            "llama",
            json!({"residual_multiplier": 0.2}),
            "residual_multiplier",
        ),
        (
            "qwen2",
            json!({"layer_types": ["sliding_attention", "full_attention"]}),
            "there is no window",
        ),
        (
            "qwen2",
            json!({"layer_types": ["full_attention"]}),
            "list of 2 words",
        ),
        (
            "qwen3",
            json!({"layer_types": ["full_attention", "linear_attention"]}),
            "\"linear_attention\"",
        ),
        ("gpt_neox", json!({"rotary_pct": 1.5}), "1.5"),
        (
            "gemma3_text",
            json!({"final_logit_softcapping": 30.0}),
            "final_logit_softcapping = 30.0",
        ),
        (
            "gemma3_text",
            json!({"use_bidirectional_attention": true}),
            "use_bidirectional_attention",
        ),
        (
            "gpt_neo",
            json!({"num_layers": 2, "num_heads": 3, "attention_types": [[["global"], 3]]}),
            "num_layers = 2",
        ),
        (
            "gpt_neo",
            json!({"num_layers": 2, "num_heads": 3, "attention_types": [[["near"], 2]]}),
            "attention_types",
        ),
        (
            "gpt_neo",
            json!({"num_layers": 2, "num_heads": 3,
            "attention_types": [[["global"], u64::MAX]]}),
            "num_layers = 2",
        ),
        ("mamba", json!({}), "gpt2, llama, qwen2, qwen3"),
    ] {
        let error = of(model_type, fields.clone()).err();
        let error = error.unwrap_or_else(|| panic!("{model_type} takes {fields}"));
        assert!(error.contains(named), "{model_type} {fields}: {error}");
    }
}

#[test]
fn neutral_values_and_classes_are_taken() {
    let neutral = json!({"final_logit_softcapping": null, "residual_multiplier": 1.0,
        "num_experts": 0, "rope_scaling": {}, "partial_rotary_factor": 1});
    of("llama", neutral).unwrap();
    let mut config = json!({"architectures": ["Qwen2ForCausalLM"], "hidden_size": 24,
        "num_attention_heads": 3, "num_key_value_heads": 3});
    assert_eq!(read(&config).unwrap().0.model_type, "qwen2");
    config["architectures"] = json!(["GPTNeoXForCausalLM"]);
    assert_eq!(read(&config).unwrap().0.model_type, "gpt_neox");
}

/// Beyond the length of pretraining `dynamic` would change its base: longer sequences are refused.
#[test]
fn a_dynamic_rope_ends_where_its_base_would_change() {
    let dynamic = json!({"rope_scaling": {"type": "dynamic", "factor": 4.0}});
    assert_eq!(of("llama", dynamic).unwrap().context, 64);
}
