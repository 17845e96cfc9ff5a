//! Invalid checkpoints are refused with one line that names the problem, and no files are left behind.

use crate::bad_input::check;
use crate::folder;
use std::fs;

/// Splits a safetensors file into its header and its data.
fn parts(bytes: &[u8]) -> (serde_json::Value, Vec<u8>) {
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    (header, bytes[8 + length..].to_vec())
}

fn joined(header: &serde_json::Value, numbers: &[u8]) -> Vec<u8> {
    let header = header.to_string().into_bytes();
    let length = (header.len() as u64).to_le_bytes();
    [&length, header.as_slice(), numbers].concat()
}

const BIAS: &str = "transformer.h.0.attn.c_attn.bias";

/// Corrupts the weights of a checkpoint.
type Spoil = fn(&[u8]) -> Vec<u8>;

/// Replaces the header entry of one tensor.
fn with(bytes: &[u8], key: &str, value: serde_json::Value) -> Vec<u8> {
    let (mut header, numbers) = parts(bytes);
    header[BIAS][key] = value;
    joined(&header, &numbers)
}

/// Replaces the first number of one tensor.
fn number(bytes: &[u8], number: f32) -> Vec<u8> {
    let (header, mut numbers) = parts(bytes);
    let start = header[BIAS]["data_offsets"][0].as_u64().unwrap() as usize;
    numbers[start..start + 4].copy_from_slice(&number.to_le_bytes());
    joined(&header, &numbers)
}

const WEIGHTS: &[(&str, Spoil, &str)] = &[
    (
        "empty",
        |_| vec![],
        "model.safetensors: is not a whole safetensors file",
    ),
    (
        "cut",
        |whole| whole[..300].to_vec(),
        "is not a whole safetensors file",
    ),
    (
        "short",
        |whole| whole[..whole.len() - 9].to_vec(),
        "is not a whole safetensors file",
    ),
    (
        "boast",
        |_| [&(1u64 << 60).to_le_bytes()[..], b"{}"].concat(),
        "is not a whole safetensors file (header too large): download or write it again",
    ),
    (
        "page",
        |_| b"<html>404</html>".repeat(9),
        "is not a whole safetensors file",
    ),
    (
        "pointer",
        |_| b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n".to_vec(),
        "is a pointer of Git LFS, not the file",
    ),
    (
        "overlap",
        |whole| with(whole, "data_offsets", serde_json::json!([96, 192])),
        "is not a whole safetensors file",
    ),
    (
        "beyond",
        |whole| with(whole, "data_offsets", serde_json::json!([0, 1u64 << 40])),
        "is not a whole safetensors file",
    ),
    (
        "vast",
        |whole| with(whole, "shape", serde_json::json!([1u64 << 40, 1u64 << 40])),
        "is not a whole safetensors file",
    ),
    (
        "type",
        |whole| with(whole, "dtype", "F7".into()),
        "unknown variant `F7`",
    ),
    (
        "integers",
        |whole| with(whole, "dtype", "I32".into()),
        "c_attn.bias` is of type I32: only F32, F16 and BF16 are read",
    ),
    (
        "shape",
        |whole| with(whole, "shape", serde_json::json!([4, 6])),
        "c_attn.bias` has shape [4, 6], but config.json asks for [24]",
    ),
];

/// Weights are read when a model is loaded, not when it is inspected.
const VALUES: &[(&str, Spoil, &str)] = &[
    (
        "nan",
        |whole| number(whole, f32::NAN),
        "c_attn.bias` has the value NaN",
    ),
    (
        "inf",
        |whole| number(whole, f32::INFINITY),
        "c_attn.bias` has the value inf",
    ),
];

const CONFIGS: &[(&str, &str, &str, &str)] = &[
    (
        "mamba",
        "\"gpt2\"",
        "\"mamba\"",
        "model_type = \"mamba\" is not supported; gpt2, llama,",
    ),
    (
        "heads",
        "\"n_head\": 2",
        "\"n_head\": 3",
        "n_head = 3 does not divide n_embd = 8",
    ),
    (
        "layers",
        "\"n_layer\": 1",
        "\"n_layer\": 2",
        "has no tensor `transformer.h.1.ln_1.weight`",
    ),
    (
        "vocab",
        "\"vocab_size\": 11",
        "\"vocab_size\": 12",
        "has shape [11, 8], but config.json asks",
    ),
    (
        "wide",
        "\"n_embd\": 8",
        "\"n_embd\": 16",
        "has shape [11, 8], but config.json asks",
    ),
    ("json", "{", "", "config.json: is not JSON"),
    (
        "numbers",
        "\"n_layer\": 1",
        "\"n_layer\": 1e99",
        "n_layer = ",
    ),
];

#[test]
fn invalid_checkpoints_are_refused() {
    let folder = folder();
    let folder = folder.path();
    let copy = |name: &str| {
        let to = folder.join(name);
        fs::create_dir(&to).unwrap();
        for file in ["config.json", "model.safetensors"] {
            fs::copy(folder.join("model").join(file), to.join(file)).unwrap();
        }
        to
    };
    let both = |name: &str, expected: &str| {
        check(folder, &format!("model inspect {name}"), 1, expected);
        let train = format!("train --model {name} --reward length:1 --data good.jsonl --out run");
        check(folder, &train, 1, expected);
        assert!(!folder.join("run").exists(), "{name}");
    };
    let whole = fs::read(folder.join("model/model.safetensors")).unwrap();
    for (name, spoil, expected) in WEIGHTS {
        fs::write(copy(name).join("model.safetensors"), spoil(&whole)).unwrap();
        both(name, expected);
    }
    for (name, spoil, expected) in VALUES {
        fs::write(copy(name).join("model.safetensors"), spoil(&whole)).unwrap();
        check(
            folder,
            &format!("generate --model {name} --prompt 1"),
            1,
            expected,
        );
        check(
            folder,
            &format!("score --model {name} --input good.jsonl"),
            1,
            expected,
        );
    }
    for (name, old, new, expected) in CONFIGS {
        let path = copy(name).join("config.json");
        let config: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let config = format!("{config:#}").replacen(old, new, 1);
        fs::write(&path, config).unwrap();
        both(name, expected);
    }
    fs::remove_file(copy("bare").join("model.safetensors")).unwrap();
    both(
        "bare",
        "model.safetensors: is missing: this folder has no weights",
    );
    both(
        "nowhere",
        "nowhere: no such folder: give a folder with config.json",
    );
    both(
        "good.jsonl",
        "good.jsonl: is not a folder: give the folder of a checkpoint",
    );
}
