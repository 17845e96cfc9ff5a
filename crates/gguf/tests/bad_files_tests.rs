//! Files that are damaged: one line that names the culprit, no panic, and no memory beyond the file's.

use rlhf_gguf::{GgufFile, NewTensor, Value, WrittenType};
use std::fs;
use std::path::Path;

/// A file with every kind of value and some types of tensor.
fn small(path: &Path) {
    let text = |text: &str| Value::String(text.into());
    let metadata: Vec<(String, Value)> = [
        ("general.architecture", text("llama")),
        ("general.alignment", Value::u32(32)),
        ("llama.block_count", Value::u32(1)),
        ("llama.rope.freq_base", Value::f32(10000.0)),
        ("a.flag", Value::Bool(true)),
        (
            "a.list",
            Value::strings(vec!["a".into(), String::new(), "Ġb".into()]),
        ),
        ("a.numbers", Value::i32s(&[1, 2, 3])),
        ("a.scores", Value::f32s(&[0.5, -1.0])),
    ]
    .map(|(key, value)| (key.to_string(), value))
    .into();
    let tensors = [
        ("token_embd.weight", vec![3, 32], WrittenType::Q8_0),
        ("output_norm.weight", vec![32], WrittenType::F32),
        ("output.weight", vec![3, 32], WrittenType::Bf16),
    ]
    .map(|(name, shape, kind)| NewTensor {
        name: name.into(),
        shape,
        kind,
    });
    rlhf_gguf::write(path, &metadata, &tensors, |index, sink| {
        let count = tensors[index].shape.iter().product::<usize>();
        sink(&(0..count).map(|i| i as f32 / 8.0 - 3.0).collect::<Vec<_>>())
    })
    .unwrap();
}

/// The error of a file with these bytes.
fn error(path: &Path, bytes: &[u8]) -> String {
    fs::write(path, bytes).unwrap();
    let error = GgufFile::open(path).unwrap_err().to_string();
    assert!(error.starts_with(&path.display().to_string()), "{error}");
    assert!(!error.contains('\n'), "{error}");
    error
}

/// The place of a text in a file.
fn place(bytes: &[u8], text: &str) -> usize {
    let found = bytes
        .windows(text.len())
        .position(|window| window == text.as_bytes());
    found.unwrap() + text.len()
}

fn set(bytes: &[u8], at: usize, new: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + new.len()].copy_from_slice(new);
    bytes
}

#[test]
fn what_is_wrong_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    small(&path);
    let good = fs::read(&path).unwrap();
    let huge = (1u64 << 60).to_le_bytes();
    // A tensor's entry is its name, 4 bytes of dimensions, 8 a dimension, 4 of type and 8 of offset.
    let embedding = place(&good, "token_embd.weight");
    let norm = place(&good, "output_norm.weight");
    let list = place(&good, "a.list");
    let cases: Vec<(Vec<u8>, &[&str])> = vec![
        (good[..3].to_vec(), &["not a GGUF file"]),
        (set(&good, 0, b"PK\x03\x04"), &["not a GGUF file", "GGUF"]),
        (set(&good, 0, b"vers"), &["Git LFS"]),
        (set(&good, 4, &[1, 0, 0, 0]), &["version 1"]),
        (set(&good, 4, &[0, 0, 0, 3]), &["big-endian"]),
        (
            set(&good, 8, &huge),
            &["1152921504606846976 tensors", "truncated"],
        ),
        (
            set(&good, 16, &huge),
            &["1152921504606846976 keys", "truncated"],
        ),
        (set(&good, 24, &huge), &["a metadata key", "truncated"]),
        (set(&good, list, &[13]), &["`a.list`", "unknown type 13"]),
        (set(&good, list + 4, &[9]), &["`a.list`", "array of arrays"]),
        (
            set(&good, list + 8, &huge),
            &["`a.list`", "1152921504606846976 values"],
        ),
        (
            set(&good, list + 16, &huge),
            &["the value of `a.list`", "truncated"],
        ),
        (
            set(&good, list + 24, &[0xff]),
            &["the value of `a.list`", "UTF-8"],
        ),
        (
            set(&good, place(&good, "general.alignment") + 4, &[33]),
            &["general.alignment", "33"],
        ),
        (
            set(&good, place(&good, "general.alignment") + 4, &[0]),
            &["general.alignment"],
        ),
        (
            set(&good, embedding, &[5]),
            &["token_embd.weight", "5 dimensions"],
        ),
        (
            set(&good, embedding, &[0]),
            &["token_embd.weight", "0 dimensions"],
        ),
        (
            set(&good, embedding + 4, &huge),
            &["token_embd.weight", "dimension"],
        ),
        (
            set(&good, embedding + 12, &[0]),
            &["token_embd.weight", "dimension of 0"],
        ),
        (
            set(&good, embedding + 20, &[10]),
            &["token_embd.weight", "Q2_K", "Q4_0"],
        ),
        (
            set(&good, embedding + 20, &[77]),
            &["token_embd.weight", "number 77"],
        ),
        (
            set(&good, embedding + 4, &[31]),
            &["token_embd.weight", "31", "Q8_0"],
        ),
        (
            set(&good, embedding + 24, &huge),
            &["token_embd.weight", "outside"],
        ),
        (
            set(&good, embedding + 24, &[1]),
            &["token_embd.weight", "aligned"],
        ),
        (
            set(&good, norm + 16, &[0, 0, 0, 0, 0, 0, 0, 0]),
            &["overlap", "output_norm.weight"],
        ),
        (
            good[..good.len() - 40].to_vec(),
            &["output.weight", "outside", "truncated"],
        ),
        (good[..norm].to_vec(), &["truncated"]),
        (good[..200].to_vec(), &["truncated"]),
    ];
    for (index, (bytes, parts)) in cases.iter().enumerate() {
        let error = error(&path, bytes);
        for part in *parts {
            assert!(error.contains(part), "case {index}: {error}");
        }
    }
}

#[test]
fn names_that_stand_twice_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let key = ("general.name".to_string(), Value::Bool(true));
    rlhf_gguf::write(&path, &[key.clone(), key], &[], |_, _| Ok(())).unwrap();
    let twice = GgufFile::open(&path).unwrap_err().to_string();
    assert!(twice.contains("`general.name` twice"), "{twice}");
    let tensor = NewTensor {
        name: "output.weight".into(),
        shape: vec![4],
        kind: WrittenType::F32,
    };
    let tensors = [tensor.clone(), tensor];
    rlhf_gguf::write(&path, &[], &tensors, |_, sink| sink(&[0.0; 4])).unwrap();
    let twice = GgufFile::open(&path).unwrap_err().to_string();
    assert!(twice.contains("`output.weight` twice"), "{twice}");
}

/// Whatever bytes change, a file is read or refused: it neither panics nor asks for memory that its
/// length does not justify.
#[test]
fn changed_bytes_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    small(&path);
    let good = fs::read(&path).unwrap();
    let mut state = 16u64;
    let mut below = |limit: usize| {
        // Knuth's linear congruential generator (MMIX).
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) as usize % limit
    };
    let (mut read, mut refused) = (0, 0);
    for turn in 0..10_000 {
        let mut bytes = good.clone();
        for _ in 0..1 + below(4) {
            let at = below(bytes.len());
            bytes[at] = match below(3) {
                0 => below(256) as u8,
                1 => bytes[at] ^ (1 << below(8)),
                _ => [0, 1, 255, 127, 128][below(5)],
            };
        }
        if below(8) == 0 {
            bytes.truncate(below(bytes.len()));
        }
        // A name of its own: some file systems wait for the disk where a file is written anew.
        let path = folder.path().join(format!("{turn}.gguf"));
        fs::write(&path, &bytes).unwrap();
        match GgufFile::open(&path) {
            Ok(file) => {
                read += 1;
                for tensor in file.tensors().values() {
                    file.read(tensor, |_| Ok(())).unwrap();
                }
            }
            Err(error) => {
                refused += 1;
                assert!(!error.to_string().contains('\n'));
            }
        }
        fs::remove_file(&path).unwrap();
    }
    assert!(
        read > 500 && refused > 500,
        "{read} read, {refused} refused"
    );
}
