//! From a folder to GGUF and back: every architecture that llama.cpp has, on the folders of
//! `tests/golden/architectures`, which scripts/golden_models.py writes.

use rlhf_gguf::{GgufFile, WrittenType, export, import};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn golden(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    folder.join("../../tests/golden/architectures").join(name)
}

fn json_of(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Each tensor of a safetensors file: its type, its shape and its bytes.
fn tensors(path: &Path) -> BTreeMap<String, (Value, Value, Vec<u8>)> {
    let bytes = fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let data = &bytes[8 + length..];
    let entries = header.as_object().unwrap().iter();
    let entries = entries.filter(|(name, _)| *name != "__metadata__");
    entries
        .map(|(name, about)| {
            let at = |i: usize| about["data_offsets"][i].as_u64().unwrap() as usize;
            let content = data[at(0)..at(1)].to_vec();
            (
                name.clone(),
                (about["dtype"].clone(), about["shape"].clone(), content),
            )
        })
        .collect()
}

/// The numbers of bytes of f32 or bf16.
fn numbers((dtype, _, bytes): &(Value, Value, Vec<u8>)) -> Vec<f32> {
    match dtype.as_str().unwrap() {
        "F32" => bytes
            .chunks(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect(),
        "BF16" => bytes
            .chunks(2)
            .map(|b| f32::from_bits(u32::from(u16::from_le_bytes(b.try_into().unwrap())) << 16))
            .collect(),
        other => panic!("{other}"),
    }
}

/// A copy of a golden folder with some settings changed.
fn copy(name: &str, to: &Path, changes: &Value) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(golden(name)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    let mut config = json_of(&to.join("config.json"));
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    fs::write(to.join("config.json"), config.to_string()).unwrap();
}

/// What has to come back of the settings, whatever they are called on the way.
fn settings(config: &Value) -> Vec<Value> {
    let first = |keys: &[&str]| {
        let found = keys
            .iter()
            .map(|key| config[*key].clone())
            .find(|value| !value.is_null());
        found.unwrap_or(Value::Null)
    };
    let number = |value: Value| match value.as_f64() {
        Some(number) => json!(number),
        None => value,
    };
    let rope = first(&["rope_parameters", "rope_scaling"]);
    let base = match &rope["rope_theta"] {
        Value::Null => first(&["rope_theta", "rotary_emb_base"]),
        base => base.clone(),
    };
    let scaling = [
        "factor",
        "low_freq_factor",
        "high_freq_factor",
        "original_max_position_embeddings",
    ];
    let mut settings = vec![number(base)];
    settings.extend(scaling.map(|key| number(rope[key].clone())));
    for keys in [
        &["hidden_size", "n_embd"][..],
        &["num_hidden_layers", "n_layer"],
        &["num_attention_heads", "n_head"],
        &["num_key_value_heads"],
        &["intermediate_size"],
        &["max_position_embeddings", "n_positions"],
        &["rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon"],
        &["vocab_size"],
        &["eos_token_id"],
        &["rotary_pct"],
        &["use_parallel_residual"],
        &["sliding_window"],
        &["layer_types"],
    ] {
        settings.push(number(first(keys)));
    }
    settings
}

/// The folders that llama.cpp can run, and what is changed in them so that it can.
fn exportable() -> Vec<(&'static str, Value)> {
    vec![
        ("llama", json!({})),
        ("llama-biases", json!({})),
        ("llama-grouped", json!({})),
        ("llama-head-dim", json!({})),
        ("llama-padded", json!({})),
        ("llama-rope-linear", json!({})),
        ("llama-rope-llama3", json!({})),
        ("llama-rope-llama3-old", json!({})),
        ("llama-rope-yarn", json!({})),
        ("qwen2", json!({})),
        ("qwen3", json!({})),
        ("gpt_neox", json!({})),
        ("gpt_neox-serial", json!({})),
        ("olmo2", json!({})),
        (
            "gpt2-by-layer",
            json!({"scale_attn_by_inverse_layer_idx": false}),
        ),
        ("gemma3_text", json!({"query_pre_attn_scalar": 8})),
    ]
}

#[test]
fn every_architecture_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    for (name, changes) in exportable() {
        let [from, to] = ["from", "to"].map(|side| folder.path().join(format!("{name}-{side}")));
        let file = folder.path().join(format!("{name}.gguf"));
        copy(name, &from, &changes);
        let exported = export(&from, &file, WrittenType::F32).unwrap();
        let imported = import(&file, &to).unwrap();
        assert_eq!(exported.parameters, imported.parameters, "{name}");
        let [mut before, after] = [&from, &to].map(|folder| json_of(&folder.join("config.json")));
        if name == "llama-grouped" {
            // Its generation_config.json names one more.
            before["eos_token_id"]
                .as_array_mut()
                .unwrap()
                .push(json!(57));
        }
        assert_eq!(before["model_type"], after["model_type"]);
        for (at, (a, b)) in settings(&before).iter().zip(&settings(&after)).enumerate() {
            // Where a file says nothing of it, nothing is asked for.
            let unsaid = a.is_null() && (at < 5 || b.is_array() || b.is_number());
            assert!(a == b || unsaid, "{name}, setting {at}: {a} became {b}");
        }
        let [before, after] = [&from, &to].map(|folder| tensors(&folder.join("model.safetensors")));
        let renamed = |name: &str| match name {
            "lm_head.weight" if !after.contains_key(name) => "embed_out.weight".to_string(),
            name => name.to_string(),
        };
        for (tensor, one) in &before {
            let other = after.get(&renamed(tensor));
            let other = other.unwrap_or_else(|| panic!("{name}: {tensor} is missing"));
            assert_eq!(one.1, other.1, "{name}: {tensor}");
            // Gemma's norms come back from 1 + w, rounded once.
            let shifted = name.starts_with("gemma") && tensor.ends_with("norm.weight");
            for (x, y) in numbers(one).into_iter().zip(numbers(other)) {
                let near = if shifted { 1.2e-7 } else { 0.0 };
                assert!((x - y).abs() <= near, "{name}: {tensor}: {x} became {y}");
            }
        }
        assert_eq!(before.len(), after.len(), "{name}");
    }
}

/// What llama.cpp would compute otherwise is refused, by the name of the setting.
#[test]
fn what_llama_cpp_does_not_have_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.gguf");
    for (at, (name, changes, parts)) in [
        ("llama-gelu", json!({}), &["`hidden_act`", "gelu"][..]),
        (
            "llama-score",
            json!({}),
            &["`architectures`", "LlamaForSequenceClassification"],
        ),
        (
            "llama-rope-yarn-options",
            json!({}),
            &["`attention_factor`", "1.3"],
        ),
        ("qwen2-window", json!({}), &["`use_sliding_window`"]),
        ("qwen3-biases", json!({}), &["`attention_bias`"]),
        (
            "gpt2-by-layer",
            json!({}),
            &["`scale_attn_by_inverse_layer_idx`"],
        ),
        ("gemma3_text", json!({}), &["`query_pre_attn_scalar`", "20"]),
        ("opt", json!({}), &["`model_type`", "opt", "llama"]),
        (
            "llama",
            json!({"num_key_value_heads": 5}),
            &["`num_key_value_heads` is 5"],
        ),
        (
            "llama",
            json!({"num_hidden_layers": 3}),
            &["has no tensor `model.layers.2."],
        ),
        (
            "llama",
            json!({"num_hidden_layers": 1}),
            &["has a tensor `model.layers.1."],
        ),
        (
            "llama",
            json!({"hidden_size": "x"}),
            &["`hidden_size`", "\"x\""],
        ),
        (
            "llama",
            json!({"rope_scaling": {"rope_type": "magic"}, "rope_parameters": null}),
            &["\"magic\""],
        ),
        (
            "llama",
            json!({"rope_scaling": {"rope_type": "linear"}, "rope_parameters": null}),
            &["`factor`"],
        ),
        (
            "llama",
            json!({"num_attention_heads": 0}),
            &["`num_attention_heads` is 0"],
        ),
        (
            "llama",
            json!({"max_position_embeddings": null}),
            &["no `max_position_embeddings`"],
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let from = folder.path().join(at.to_string());
        copy(name, &from, &changes);
        let error = export(&from, &file, WrittenType::F32)
            .unwrap_err()
            .to_string();
        assert!(!file.exists() && !error.contains('\n'), "{error}");
        for part in parts {
            assert!(error.contains(part), "{name}: {error}");
        }
    }
    let missing = export(&folder.path().join("none"), &file, WrittenType::F32).unwrap_err();
    assert!(missing.to_string().contains("config.json"), "{missing}");
}

/// The types of a file are those that were asked for, besides vectors, and rows that are no blocks.
#[test]
fn matrices_have_the_type_that_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("model.gguf");
    for kind in WrittenType::ALL {
        let exported = export(&golden("llama"), &file, kind).unwrap();
        let opened = GgufFile::open(&file).unwrap();
        for tensor in opened.tensors().values() {
            let width = tensor.shape[tensor.shape.len() - 1];
            let expected = match tensor.shape.len() {
                1 => "F32".to_string(),
                _ if width % kind.tensor_type().block_len() == 0 => kind.name().to_uppercase(),
                _ => "F16".to_string(),
            };
            assert_eq!(tensor.kind.name(), expected, "{}", tensor.name);
        }
        let rounded = exported
            .notes
            .iter()
            .any(|note| note.contains("stored in f16"));
        assert_eq!(rounded, kind == WrittenType::Q8_0, "{:?}", exported.notes);
        let to = folder.path().join(kind.name());
        import(&file, &to).unwrap();
        let dtype = match kind {
            // No row of this model is a block of Q8_0.
            WrittenType::F16 | WrittenType::Q8_0 => "float16",
            WrittenType::Bf16 => "bfloat16",
            WrittenType::F32 => "float32",
        };
        assert_eq!(json_of(&to.join("config.json"))["torch_dtype"], dtype);
    }
}
