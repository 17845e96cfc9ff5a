//! Against the `gguf` package of llama.cpp: `tests/golden/gguf`, which scripts/golden_gguf.py writes.

use crate::safetensors::Weights;
use crate::{Array, GgufFile, NewTensor, Value, WrittenType};
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/golden/gguf")
        .join(name)
}

/// The tensors of the golden safetensors file.
fn weights() -> (tempfile::TempDir, Weights) {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join(crate::safetensors::MODEL);
    fs::copy(golden("types.safetensors"), copy).unwrap();
    let weights = Weights::open(folder.path()).unwrap();
    (folder, weights)
}

fn numbers(weights: &Weights, name: &str) -> Vec<f32> {
    let mut numbers = Vec::new();
    let add = |some: &[f32]| {
        numbers.extend_from_slice(some);
        Ok(())
    };
    weights.read(&weights.entries()[name], add).unwrap();
    numbers
}

/// A value as JSON, floats as the golden file rounds them.
fn plain(value: &Value) -> Json {
    match value {
        Value::Integer(value, _) => match u64::try_from(*value) {
            Ok(value) => json!(value),
            Err(_) => json!(*value as i64),
        },
        Value::Float(value, _) => json!(value),
        Value::Bool(value) => json!(value),
        Value::String(value) => json!(value),
        Value::Array(Array::Strings(values)) => json!(values),
        Value::Array(array) => json!(array.numbers().unwrap()),
    }
}

#[test]
fn metadata_is_what_the_package_reads() {
    let file = GgufFile::open(&golden("types.gguf")).unwrap();
    let text = fs::read_to_string(golden("types.json")).unwrap();
    let expected: BTreeMap<String, Json> = serde_json::from_str(&text).unwrap();
    assert_eq!(file.metadata().len() + 1, expected.len());
    for (key, value) in file.metadata() {
        let expected = &expected[key]["value"];
        let read = plain(value);
        let same = match (read.as_array(), expected.as_array()) {
            // Numbers of a list are floats here.
            (Some(read), Some(expected)) => read.iter().zip(expected).all(|(a, b)| {
                let truth = |x: &Json| x.as_bool().map(|x| f64::from(u8::from(x)));
                a == b || a.as_f64() == truth(b).or(b.as_f64()) && a.is_number()
            }),
            _ => &read == expected,
        };
        assert!(same, "{key}: {read} is not {expected}");
    }
    for (name, about) in expected["tensors"].as_object().unwrap() {
        let tensor = &file.tensors()[name];
        assert_eq!(tensor.kind.name(), about["type"]);
        assert_eq!(json!(tensor.shape), about["shape"]);
        assert_eq!(json!(tensor.bytes()), about["bytes"]);
    }
}

#[test]
fn every_type_is_dequantized_to_the_same_bits() {
    let file = GgufFile::open(&golden("types.gguf")).unwrap();
    let (_folder, weights) = weights();
    let mut types = std::collections::HashSet::new();
    for (name, tensor) in file.tensors() {
        let expected = numbers(&weights, &format!("dequantized.{name}"));
        let mut read = Vec::new();
        let add = |some: &[f32]| {
            read.extend_from_slice(some);
            Ok(())
        };
        file.read(tensor, add).unwrap();
        let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&read), bits(&expected), "{name}");
        types.insert(tensor.kind);
    }
    assert_eq!(types.len(), 11);
}

#[test]
fn every_type_is_quantized_to_the_same_bytes() {
    let file = fs::read(golden("types.gguf")).unwrap();
    let opened = GgufFile::open(&golden("types.gguf")).unwrap();
    let (folder, weights) = weights();
    for kind in WrittenType::ALL {
        let name = format!("{}.rounded", kind.name());
        let source = numbers(&weights, &format!("source.{name}"));
        let expected = &opened.tensors()[&name];
        let tensor = NewTensor {
            name: name.clone(),
            shape: expected.shape.clone(),
            kind,
        };
        let path = folder.path().join("written.gguf");
        crate::write(&path, &[], &[tensor], |_, sink| sink(&source)).unwrap();
        let written = GgufFile::open(&path).unwrap();
        let bytes = |file: &[u8], tensor: &crate::TensorInfo| {
            file[tensor.start as usize..][..tensor.bytes() as usize].to_vec()
        };
        let written = bytes(&fs::read(&path).unwrap(), &written.tensors()[&name]);
        assert!(written == bytes(&file, expected), "{name}");
    }
}
