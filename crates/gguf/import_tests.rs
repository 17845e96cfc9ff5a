//! Files whose model or tokenizer is not what it should be.

use crate::import::Plan;
use crate::{Array, GgufFile, NewTensor, Result, Value, ValueType, WrittenType, export, write};
use std::fs;
use std::path::{Path, PathBuf};

/// A small llama with a byte-level tokenizer, as a file.
fn small(folder: &Path) -> PathBuf {
    let path = folder.join("model.gguf");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/architectures");
    export(&golden.join("llama-padded"), &path, WrittenType::F16).unwrap();
    path
}

fn plan(path: &Path) -> Result<()> {
    let file = GgufFile::open(path)?;
    Plan::new(&file, &mut Vec::new()).map(|_| ())
}

/// The file with other metadata: a key's new value, or none for a key that is taken out.
fn changed(path: &Path, key: &str, value: Option<Value>) -> PathBuf {
    let file = GgufFile::open(path).unwrap();
    let mut metadata = file.metadata().clone();
    match value {
        Some(value) => _ = metadata.insert(key.into(), value),
        None => _ = metadata.remove(key).unwrap(),
    }
    rewritten(&file, path, metadata.into_iter().collect(), |_| true)
}

/// The file with this metadata and those tensors that are kept.
fn rewritten(
    file: &GgufFile,
    path: &Path,
    metadata: Vec<(String, Value)>,
    keep: impl Fn(&str) -> bool,
) -> PathBuf {
    let infos: Vec<_> = file
        .tensors()
        .values()
        .filter(|info| keep(&info.name))
        .collect();
    let target = |info: &&crate::TensorInfo| NewTensor {
        name: info.name.clone(),
        shape: info.shape.clone(),
        kind: WrittenType::F32,
    };
    let targets: Vec<_> = infos.iter().map(target).collect();
    let out = path.with_file_name("changed.gguf");
    write(&out, &metadata, &targets, |index, sink| {
        file.read(infos[index], sink)
    })
    .unwrap();
    out
}

#[test]
fn the_file_itself_is_understood() {
    let folder = tempfile::tempdir().unwrap();
    plan(&small(folder.path())).unwrap();
}

#[test]
fn what_is_wrong_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = small(folder.path());
    let text = |text: &str| Some(Value::String(text.into()));
    let count = |count| Some(Value::u32(count));
    let strings = |count: usize| Some(Value::strings(vec!["x".into(); count]));
    let cases: Vec<(&str, Option<Value>, &[&str])> = vec![
        ("general.architecture", None, &["no `general.architecture`"]),
        (
            "general.architecture",
            text("mamba"),
            &["`mamba`", "llama, qwen2"],
        ),
        (
            "general.architecture",
            count(1),
            &["`general.architecture`", "not a text"],
        ),
        ("llama.block_count", None, &["no `llama.block_count`"]),
        ("llama.block_count", count(0), &["`llama.block_count` is 0"]),
        (
            "llama.block_count",
            count(1),
            &["tensor `blk.1.", "1 layers"],
        ),
        (
            "llama.block_count",
            count(u32::MAX),
            &["no tensor `blk.", "layers"],
        ),
        (
            "llama.block_count",
            Some(Value::Integer(-1, ValueType::I32)),
            &["`llama.block_count`"],
        ),
        (
            "llama.attention.head_count",
            count(0),
            &["`llama.attention.head_count` is 0"],
        ),
        (
            "llama.attention.head_count_kv",
            count(2),
            &["head_count_kv` is 2", "does not divide"],
        ),
        (
            "llama.attention.layer_norm_rms_epsilon",
            None,
            &["layer_norm_rms_epsilon"],
        ),
        (
            "llama.attention.layer_norm_rms_epsilon",
            Some(Value::f32(f32::NAN)),
            &["layer_norm_rms_epsilon", "finite"],
        ),
        (
            "llama.rope.scaling.type",
            text("longrope"),
            &["\"longrope\"", "none, linear and yarn"],
        ),
        (
            "llama.rope.scaling.type",
            text("yarn"),
            &["no `llama.rope.scaling.factor`"],
        ),
        ("llama.rope.dimension_count", count(2), &["are rotated"]),
        ("llama.expert_count", count(8), &["`llama.expert_count`"]),
        ("tokenizer.ggml.model", text("bert"), &["\"bert\"", "gpt2"]),
        (
            "tokenizer.ggml.pre",
            text("mine"),
            &["\"mine\"", "gpt-2", "qwen2"],
        ),
        (
            "tokenizer.ggml.tokens",
            None,
            &["no `tokenizer.ggml.tokens`"],
        ),
        (
            "tokenizer.ggml.tokens",
            strings(64),
            &["\"x\" twice", "0 and 1"],
        ),
        (
            "tokenizer.ggml.tokens",
            strings(65),
            &["65 tokens", "64 rows"],
        ),
        (
            "tokenizer.ggml.token_type",
            Some(Value::i32s(&[1])),
            &["1 values for 64 tokens"],
        ),
        (
            "tokenizer.ggml.merges",
            strings(1),
            &["\"x\"", "two tokens"],
        ),
        (
            "tokenizer.ggml.merges",
            Some(Value::strings(vec!["! zz".into()])),
            &["\"! zz\"", "\"zz\" is no token"],
        ),
        (
            "tokenizer.ggml.eos_token_id",
            count(64),
            &["`tokenizer.ggml.eos_token_id` is 64"],
        ),
        (
            "tokenizer.chat_template",
            count(1),
            &["`tokenizer.chat_template`", "not a text"],
        ),
    ];
    for (key, value, parts) in cases {
        let path = changed(&path, key, value);
        let error = plan(&path).unwrap_err().to_string();
        assert!(
            error.contains("changed.gguf") && !error.contains('\n'),
            "{error}"
        );
        for part in parts {
            assert!(error.contains(part), "{key}: {error}");
        }
    }
    let file = GgufFile::open(&path).unwrap();
    let metadata: Vec<_> = file.metadata().clone().into_iter().collect();
    let path = rewritten(&file, &path, metadata, |name| name != "blk.1.ffn_up.weight");
    let error = plan(&path).unwrap_err().to_string();
    assert!(error.contains("no tensor `blk.1.ffn_up.weight`"), "{error}");
}

/// Nothing that a file may say of its model or its tokenizer makes the translation panic.
#[test]
fn changed_bytes_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    let good = fs::read(small(folder.path())).unwrap();
    let header = good.windows(4).rposition(|bytes| bytes == b"blk.").unwrap() + 64;
    let mut state = 2026u64;
    let mut below = |limit: usize| {
        // Knuth's linear congruential generator (MMIX).
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 33) as usize % limit
    };
    let (mut read, mut refused) = (0, 0);
    for turn in 0..5_000 {
        let mut bytes = good.clone();
        for _ in 0..1 + below(3) {
            let at = 24 + below(header - 24);
            bytes[at] = match below(3) {
                0 => below(256) as u8,
                1 => bytes[at] ^ (1 << below(8)),
                _ => [0, 1, 255, 127, 128][below(5)],
            };
        }
        let path = folder.path().join(format!("{turn}.gguf"));
        fs::write(&path, &bytes).unwrap();
        match plan(&path) {
            Ok(()) => read += 1,
            Err(error) => {
                refused += 1;
                assert!(!error.to_string().contains('\n'));
            }
        }
        fs::remove_file(&path).unwrap();
    }
    assert!(
        read > 250 && refused > 250,
        "{read} read, {refused} refused"
    );
}

#[test]
fn numbers_of_a_list_are_read_whatever_their_type() {
    let list = Array::Numbers {
        kind: ValueType::Bool,
        bytes: vec![0, 1],
    };
    assert_eq!(list.numbers().unwrap(), [0.0, 1.0]);
}
