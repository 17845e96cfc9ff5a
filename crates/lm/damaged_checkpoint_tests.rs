//! Checkpoint folders as they come: variants that must load alike, and damaged ones that must be
//! refused by name.

use crate::{
    ActivationCheckpointing, Backend, Error, LoadOptions, OutputHeads, OutputVocabulary, init,
    inspect, load, testing,
};
use rlhf_objective::{Finish, OutputSpec, Prompt, Response, Sequences};
use rlhf_tensor::Storage;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use tempfile::TempDir;

const OPTIONS: LoadOptions = LoadOptions {
    storage: Storage::Frozen,
    activation_checkpointing: ActivationCheckpointing::None,
    heads: OutputHeads::Language,
    vocabulary: OutputVocabulary::Whole,
    temperature: 1.0,
    backend: Backend::Plain,
};

/// Name → type, shape, bytes.
type Raw = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn folder(config: Value) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    std::fs::write(&path, config.to_string()).unwrap();
    init(&path, 5, folder.path()).unwrap();
    folder
}

fn small() -> Value {
    json!({"model_type": "gpt2", "vocab_size": 11, "n_positions": 8, "n_embd": 6, "n_head": 2,
        "n_layer": 2, "task": {"kept": [1, 2]}})
}

fn read(path: &Path) -> Raw {
    let bytes = std::fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let one = |(name, view): (String, TensorView<'_>)| {
        let content = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
        (name, content)
    };
    tensors.tensors().into_iter().map(one).collect()
}

fn write(path: &Path, raw: &Raw) {
    let view = |(dtype, shape, bytes)| TensorView::new(dtype, shape, bytes).unwrap();
    let views = raw
        .iter()
        .map(|(name, (dtype, shape, bytes))| (name, view((*dtype, shape.clone(), &bytes[..]))));
    safetensors::serialize_to_file(views, None, path).unwrap();
}

/// Changes the tensors of a folder.
fn edit(folder: &TempDir, change: impl FnOnce(&mut Raw)) {
    let path = folder.path().join("model.safetensors");
    let mut raw = read(&path);
    change(&mut raw);
    write(&path, &raw);
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    let (chunks, rest) = bytes.as_chunks::<4>();
    assert!(rest.is_empty());
    chunks.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

fn checksum(folder: &TempDir) -> String {
    load(folder.path(), &OPTIONS).unwrap().checksums().remove(0)
}

fn refused(folder: &TempDir) -> String {
    let error: Error = load(folder.path(), &OPTIONS).err().unwrap();
    let looked = inspect(folder.path()).err().map(|error| error.to_string());
    let message = error.to_string();
    // Values are not looked at by `inspect`.
    assert!(looked.is_none_or(|looked| looked == message));
    message
}

fn sequences() -> Sequences {
    let prompts = vec![Prompt::from_ids(vec![1, 2, 3])];
    let answer = |ids: &[u32]| Response::new(0, ids.to_vec(), Finish::Length);
    Sequences::new(prompts, vec![answer(&[4, 5, 6]), answer(&[7])]).unwrap()
}

#[test]
fn names_types_and_shards_do_not_matter() {
    let expected = checksum(&folder(small()));

    let bare = folder(small());
    edit(&bare, |raw| {
        let strip = |(name, x): (String, _)| (name.replace("transformer.", ""), x);
        *raw = std::mem::take(raw).into_iter().map(strip).collect();
        let mask = (Dtype::U8, vec![1, 1, 8, 8], vec![0; 64]);
        raw.insert("h.0.attn.bias".into(), mask.clone());
        raw.insert("h.1.attn.masked_bias".into(), mask);
    });
    assert_eq!(checksum(&bare), expected);

    let tied = folder(small());
    edit(&tied, |raw| {
        let embedding = raw["transformer.wte.weight"].clone();
        raw.insert("lm_head.weight".into(), embedding);
    });
    assert_eq!(checksum(&tied), expected);

    let shards = folder(small());
    let path = shards.path().join("model.safetensors");
    let raw = read(&path);
    std::fs::remove_file(&path).unwrap();
    let mut parts = [Raw::new(), Raw::new()];
    let mut map = serde_json::Map::new();
    for (i, (name, content)) in raw.into_iter().enumerate() {
        map.insert(name.clone(), format!("part-{}.safetensors", i % 2).into());
        parts[i % 2].insert(name, content);
    }
    for (i, part) in parts.iter().enumerate() {
        write(&shards.path().join(format!("part-{i}.safetensors")), part);
    }
    let index = shards.path().join("model.safetensors.index.json");
    std::fs::write(&index, json!({"weight_map": map}).to_string()).unwrap();
    assert_eq!(checksum(&shards), expected);
    assert_eq!(inspect(shards.path()).unwrap().tensors.len(), 28);
    for wrong in [
        "part-1.safetensors",
        "../part-0.safetensors",
        "gone.safetensors",
    ] {
        let mut map = map.clone();
        map.insert("transformer.h.0.attn.c_attn.bias".into(), wrong.into());
        std::fs::write(&index, json!({"weight_map": map}).to_string()).unwrap();
        assert!(refused(&shards).contains(wrong));
    }
}

#[test]
fn half_precision_is_widened_exactly() {
    for dtype in [Dtype::F16, Dtype::BF16] {
        let small = folder(small());
        edit(&small, |raw| {
            for (kind, _, bytes) in raw.values_mut() {
                let narrow = |x: f32| match dtype {
                    Dtype::F16 => half::f16::from_f32(x).to_le_bytes(),
                    _ => half::bf16::from_f32(x).to_le_bytes(),
                };
                *bytes = floats(bytes).into_iter().flat_map(narrow).collect();
                *kind = dtype;
            }
        });
        let model = load(small.path(), &OPTIONS).unwrap();
        let again = tempfile::tempdir().unwrap();
        model.save(again.path()).unwrap();
        let written = read(&again.path().join("model.safetensors"));
        let raw = read(&small.path().join("model.safetensors"));
        for (name, (_, _, bytes)) in raw {
            let wide = |b: [u8; 2]| match dtype {
                Dtype::F16 => f32::from(half::f16::from_le_bytes(b)),
                _ => f32::from(half::bf16::from_le_bytes(b)),
            };
            let expected: Vec<f32> = bytes.as_chunks::<2>().0.iter().map(|b| wide(*b)).collect();
            assert_eq!(floats(&written[&name].2), expected, "{name}");
        }
        let summary = inspect(small.path()).unwrap();
        assert_eq!(summary.dtypes, [format!("{dtype:?}")]);
    }
}

#[test]
fn untied_heads_are_their_own() {
    let mut config = small();
    config["tie_word_embeddings"] = false.into();
    let untied = folder(config);
    let model = load(untied.path(), &OPTIONS).unwrap();
    let [head, embedding] =
        ["lm_head.weight", "transformer.wte.weight"].map(|name| testing::weights(&*model, name));
    assert_ne!(head, embedding);
    assert_eq!(
        testing::count(&*model) as u64,
        inspect(untied.path()).unwrap().parameters
    );

    // The same file under a configuration that ties them.
    std::fs::write(untied.path().join("config.json"), small().to_string()).unwrap();
    assert!(refused(&untied).contains("lm_head.weight"));
}

#[test]
fn saved_and_loaded_is_the_same() {
    let small = folder(small());
    let vocab = json!({"a": 0, "b": 1, "ab": 2, "<|endoftext|>": 10}).to_string();
    std::fs::write(small.path().join("vocab.json"), &vocab).unwrap();
    std::fs::write(small.path().join("merges.txt"), "#version: 0.2\na b\n").unwrap();
    let tool_use = "additional_chat_templates/tool_use.jinja";
    std::fs::create_dir(small.path().join("additional_chat_templates")).unwrap();
    std::fs::write(small.path().join(tool_use), "{{ tools }}").unwrap();
    let path = small.path().join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config.as_object_mut().unwrap().remove("eos_token_id");
    std::fs::write(&path, config.to_string()).unwrap();

    let options = LoadOptions {
        heads: OutputHeads::LanguageAndValue,
        ..OPTIONS
    };
    let mut model = load(small.path(), &options).unwrap();
    assert_eq!(model.eos(), Some(10));
    let head = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    testing::set(&mut *model, "v_head.weight", &head);
    testing::set(&mut *model, "v_head.bias", &[0.5]);
    let outputs = model.forward(&sequences(), OutputSpec::SCORE).unwrap();

    let again = tempfile::tempdir().unwrap();
    let deep = again.path().join("a/b");
    model.save(&deep).unwrap();
    let names: Vec<String> = std::fs::read_dir(&deep)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 6, "{names:?}");
    let template = std::fs::read_to_string(deep.join(tool_use)).unwrap();
    assert_eq!(template, "{{ tools }}");
    assert_eq!(
        std::fs::read_to_string(deep.join("vocab.json")).unwrap(),
        vocab
    );
    let written: Value =
        serde_json::from_slice(&std::fs::read(deep.join("config.json")).unwrap()).unwrap();
    assert_eq!(written["task"], json!({"kept": [1, 2]}));
    assert_eq!(written["eos_token_id"], 10);

    let mut loaded = load(&deep, &options).unwrap();
    assert_eq!(loaded.eos(), Some(10));
    assert_eq!(loaded.checksums(), model.checksums());
    let repeated = loaded.forward(&sequences(), OutputSpec::SCORE).unwrap();
    let numbers = |outputs: &rlhf_objective::Outputs| {
        let values = outputs.values.as_ref().unwrap().to_vec().unwrap();
        (outputs.log_probs.to_vec().unwrap(), values)
    };
    assert_eq!(numbers(&outputs), numbers(&repeated));
    assert!(inspect(&deep).unwrap().value_head);

    let permissions = |name| std::fs::metadata(deep.join(name)).unwrap().permissions();
    assert_eq!(permissions("model.safetensors"), permissions("config.json"));

    // Saved without a critic over it, the critic is gone.
    load(small.path(), &OPTIONS).unwrap().save(&deep).unwrap();
    assert!(!inspect(&deep).unwrap().value_head);
}

#[test]
fn damaged_files_are_refused_by_name() {
    let path = |folder: &TempDir| folder.path().join("model.safetensors");
    let with = |change: &dyn Fn(&mut Raw)| {
        let small = folder(small());
        edit(&small, change);
        refused(&small)
    };
    let missing = with(&|raw| drop(raw.remove("transformer.h.1.mlp.c_fc.weight")));
    assert!(
        missing.contains("h.1.mlp.c_fc.weight") && missing.contains("[6, 24]"),
        "{missing}"
    );
    let extra = with(&|raw| {
        let bias = raw["transformer.ln_f.bias"].clone();
        raw.insert("transformer.h.2.ln_1.bias".into(), bias);
    });
    assert!(extra.contains("h.2.ln_1.bias"), "{extra}");
    let twice = with(&|raw| {
        let bias = raw["transformer.ln_f.bias"].clone();
        raw.insert("ln_f.bias".into(), bias);
    });
    assert!(twice.contains("ln_f.bias"), "{twice}");
    let turned = with(&|raw| {
        raw.get_mut("transformer.h.0.mlp.c_fc.weight").unwrap().1 = vec![24, 6];
    });
    assert!(
        turned.contains("[24, 6]") && turned.contains("transpose"),
        "{turned}"
    );
    let whole = with(&|raw| {
        raw.get_mut("transformer.ln_f.bias").unwrap().0 = Dtype::I32;
    });
    assert!(
        whole.contains("ln_f.bias") && whole.contains("I32"),
        "{whole}"
    );
    let infinite = with(&|raw| {
        let (_, _, bytes) = raw.get_mut("transformer.ln_f.bias").unwrap();
        bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
    });
    assert!(
        infinite.contains("ln_f.bias") && infinite.contains("NaN"),
        "{infinite}"
    );
    let other = with(&|raw| {
        let llama = |name: &String| name.replace("transformer.h", "model.layers");
        *raw = raw
            .iter()
            .map(|(name, x)| (llama(name), x.clone()))
            .collect();
    });
    assert!(other.contains("model.safetensors"), "{other}");

    let small = folder(small());
    let bytes = std::fs::read(path(&small)).unwrap();
    let header = |text: &str| {
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.extend(text.as_bytes());
        bytes
    };
    let huge = r#"{"transformer.wte.weight": {"dtype": "F32", "shape": [268435456, 1073741824],
        "data_offsets": [0, 1152921504606846976]}}"#;
    for damaged in [
        vec![],
        bytes[..4].to_vec(),
        bytes[..200].to_vec(),
        bytes[..bytes.len() - 1].to_vec(),
        [&bytes[..], &[0]].concat(),
        header("{"),
        header(huge),
        u64::MAX.to_le_bytes().to_vec(),
        [&(1u64 << 60).to_le_bytes()[..], &bytes[8..]].concat(),
    ] {
        std::fs::write(path(&small), damaged).unwrap();
        let message = refused(&small);
        assert!(
            message.contains("model.safetensors: is not a whole"),
            "{message}"
        );
    }
    std::fs::remove_file(path(&small)).unwrap();
    assert!(refused(&small).contains("model.safetensors: is missing"));
    std::fs::write(small.path().join("pytorch_model.bin"), "").unwrap();
    assert!(refused(&small).contains("safe_serialization"));
    std::fs::remove_file(small.path().join("config.json")).unwrap();
    assert!(refused(&small).contains("config.json"));
}
