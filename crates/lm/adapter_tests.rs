//! Adapters against PEFT (the files that scripts/golden_lora.py wrote), and as this crate makes, saves, merges and
//! refuses them.

use crate::architecture_tests::{
    AFTER_TEN_STEPS, BACKENDS, LOG_PROB, batch, check_summary, floats, gradients_of_mean_loss,
    log_probs, options,
};
use crate::golden_tests::{close, json};
use crate::{
    AdapterSpec, Backend, LoadOptions, Model, NewAdapter, OutputHeads, Precision, Scaling, Targets,
    inspect, load, load_with_adapter, merge, testing,
};
use rlhf_objective::{Network, OutputGrads, OutputSpec, Start};
use rlhf_tensor::{AdamW, Storage};
use serde_json::{Value, json as value};
use std::path::{Path, PathBuf};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden")
}

const LANGUAGE: [&str; 6] = [
    "llama",
    "llama-rslora",
    "llama-all-linear",
    "llama-regex",
    "gpt2",
    "gpt2-all-linear",
];

/// A copy of an adapter's folder, whose base is where this test finds it, with changes to its settings.
fn copy(name: &str, change: impl Fn(&mut Value)) -> tempfile::TempDir {
    let (from, to) = (
        golden().join("lora").join(name),
        tempfile::tempdir().unwrap(),
    );
    let weights = "adapter_model.safetensors";
    std::fs::copy(from.join(weights), to.path().join(weights)).unwrap();
    let mut config = json(&from.join("adapter_config.json"));
    let base = golden().join("../..");
    let base = base.join(config["base_model_name_or_path"].as_str().unwrap());
    config["base_model_name_or_path"] = base.to_str().unwrap().into();
    change(&mut config);
    std::fs::write(to.path().join("adapter_config.json"), config.to_string()).unwrap();
    to
}

fn expected(name: &str) -> Value {
    json(&golden().join("lora").join(name).join("golden.json"))
}

fn base() -> PathBuf {
    golden().join("architectures/llama-grouped")
}

fn spec(rank: usize, targets: Targets) -> AdapterSpec {
    AdapterSpec {
        rank,
        alpha: 8.0,
        targets,
        scaling: Scaling::ByRank,
    }
}

fn frozen(backend: Backend) -> LoadOptions {
    LoadOptions {
        storage: Storage::Frozen,
        ..options(backend, OutputHeads::Language)
    }
}

fn trained(model: &dyn Network) -> Vec<String> {
    let all = testing::parameters(model).describe();
    let trained = all.iter().filter(|info| info.trained);
    trained.map(|info| info.name.to_owned()).collect()
}

fn check_gradients(what: &str, model: &dyn Model, golden: &Value) {
    let expected = golden["gradients"].as_object().unwrap();
    let names = trained(model);
    assert_eq!(names.len(), expected.len(), "{what}");
    for name in names {
        let got = testing::gradient(model, &name);
        let known = &expected[&format!("base_model.model.{name}")];
        check_summary(&format!("{what} {name}"), &got, known);
    }
}

#[test]
fn log_probs_and_gradients_of_peft() {
    let (_, s) = batch();
    for name in LANGUAGE {
        let (folder, golden) = (copy(name, |_| ()), expected(name));
        for backend in BACKENDS {
            let options = options(backend, OutputHeads::Language);
            let mut model = load(folder.path(), &options).unwrap();
            gradients_of_mean_loss(&mut *model, &s);
            let got = log_probs(&mut *model, &s, OutputSpec::SCORE);
            close(name, &got, &floats(&golden["log_probs"]), LOG_PROB);
            check_gradients(&format!("{name} {backend:?}"), &*model, &golden);
        }
    }
}

#[test]
fn scores_and_gradients_of_peft() {
    let (_, s) = batch();
    let (folder, golden) = (copy("llama-score", |_| ()), expected("llama-score"));
    for backend in BACKENDS {
        let mut model = load(folder.path(), &options(backend, OutputHeads::Score)).unwrap();
        let outputs = model.forward(&s, OutputSpec::TRAIN).unwrap();
        let scores = outputs.scores.unwrap().to_vec().unwrap();
        close("scores", &scores, &floats(&golden["scores"]), LOG_PROB);
        let gradients = OutputGrads {
            scores: Some(floats(&golden["weights"])),
            ..OutputGrads::default()
        };
        model.backward(&gradients).unwrap();
        check_gradients(&format!("{backend:?}"), &*model, &golden);
    }
    assert!(inspect(folder.path()).unwrap().reward_model);
}

#[test]
fn ten_adamw_steps_of_pytorch_train_the_adapter_alone() {
    let (batch, s) = batch();
    let field = |name: &str| batch["adamw"][name].as_f64().unwrap();
    let adamw = AdamW {
        beta1: field("beta1"),
        beta2: field("beta2"),
        epsilon: field("epsilon"),
        weight_decay: field("weight_decay"),
    };
    for name in LANGUAGE {
        let (folder, golden) = (copy(name, |_| ()), expected(name));
        for backend in BACKENDS {
            let mut model = load(folder.path(), &options(backend, OutputHeads::Language)).unwrap();
            let mut losses = Vec::new();
            for _ in 0..10 {
                losses.push(gradients_of_mean_loss(&mut *model, &s) as f32);
                model.optimizer_step(&adamw, field("learning_rate"), 1.0);
            }
            let after = log_probs(&mut *model, &s, OutputSpec::SCORE);
            losses.push(-after.iter().sum::<f32>() / after.len() as f32);
            close(name, &losses, &floats(&golden["losses"]), LOG_PROB);
            let expected = floats(&golden["log_probs_after"]);
            close(name, &after, &expected, AFTER_TEN_STEPS);
        }
    }
}

/// Decoding multiplies with merged weights; its log-probs are those of the batch pass.
#[test]
fn decoding_merges_the_adapter() {
    for name in LANGUAGE {
        let (folder, golden) = (copy(name, |_| ()), expected(name));
        for backend in BACKENDS {
            let mut model = load(folder.path(), &frozen(backend)).unwrap();
            let prompts: Vec<Vec<u32>> =
                serde_json::from_value(batch().0["prompts"].clone()).unwrap();
            let mut decoder = model.decoder().unwrap();
            let start = |prompt| Start {
                prompt,
                samples: 1,
                max_new_tokens: 3,
            };
            let starts: Vec<Start<'_>> = prompts.iter().map(|prompt| start(&prompt[..])).collect();
            decoder.start(&starts).unwrap();
            for step in 0..3 {
                let rows = decoder.log_dist().unwrap().to_rows();
                let mut ids = Vec::new();
                for (row, golden) in rows.iter().zip(golden["greedy"].as_array().unwrap()) {
                    let id = golden["ids"][step].as_u64().unwrap();
                    let expected = [floats(&golden["log_probs"])[step]];
                    close(name, &[row[id as usize]], &expected, LOG_PROB);
                    ids.push(id as u32);
                }
                if step < 2 {
                    decoder.step(&ids).unwrap();
                }
            }
        }
    }
}

/// A merged network is the adapted one; its matrices are those that PEFT merges.
#[test]
fn merged_networks_compute_what_adapted_ones_do() {
    let (_, s) = batch();
    for name in LANGUAGE {
        let (folder, golden) = (copy(name, |_| ()), expected(name));
        let out = tempfile::tempdir().unwrap();
        merge(folder.path(), out.path()).unwrap();
        let mut merged = load(out.path(), &frozen(Backend::F32)).unwrap();
        let got = log_probs(&mut *merged, &s, OutputSpec::SCORE);
        close(name, &got, &floats(&golden["log_probs"]), LOG_PROB);
        for (weight, expected) in golden["merged"].as_object().unwrap() {
            let weight_of = testing::weights(&*merged, weight);
            check_summary(&format!("{name} {weight}"), &weight_of, expected);
        }
        let error = merge(&base(), out.path()).unwrap_err().to_string();
        assert!(error.contains("holds no adapter"), "{error}");
    }
}

/// A new adapter changes nothing, in any precision; after one step every parameter of it has a gradient, and
/// the base, which its reference prior shares, has not moved.
#[test]
fn a_new_adapter_starts_at_its_base_and_trains_alone() {
    let (_, s) = batch();
    let new = NewAdapter {
        spec: spec(3, Targets::default()),
        seed: 5,
    };
    for (backend, storage) in [
        (Backend::Plain, Storage::Trainable),
        (Backend::F32, Storage::Trainable),
        (Backend::F32, Storage::TrainableOverBf16),
        (Backend::Engine(Precision::Bf16), Storage::TrainableOverBf16),
    ] {
        let trainable = LoadOptions {
            storage,
            ..options(backend, OutputHeads::Language)
        };
        let prior = LoadOptions {
            storage: storage.of_base(),
            ..trainable
        };
        let mut policy = load_with_adapter(&base(), &new, &trainable).unwrap();
        let mut prior = load(&base(), &prior).unwrap();
        let before = prior.checksums();
        let expected = log_probs(&mut *prior, &s, OutputSpec::SCORE);
        gradients_of_mean_loss(&mut *policy, &s);
        assert_eq!(log_probs(&mut *policy, &s, OutputSpec::SCORE), expected);
        policy.optimizer_step(&AdamW::default(), 1e-2, 1.0);
        let loss = gradients_of_mean_loss(&mut *policy, &s);
        for name in trained(&*policy) {
            assert!(name.contains(".lora_"), "{name}");
            let gradient = testing::gradient(&*policy, &name);
            assert!(gradient.iter().any(|x| *x != 0.0), "{name} is dead");
        }
        assert!(loss < -f64::from(expected.iter().sum::<f32>()) / expected.len() as f64);
        assert_eq!(prior.checksums(), before);
    }
}

/// An adapter is saved without its base, with the value head beside it, and read back to the last bit.
#[test]
fn an_adapter_is_saved_and_loaded_again() {
    let (_, s) = batch();
    let new = NewAdapter {
        spec: spec(2, Targets::Names(vec!["q_proj".into(), "down_proj".into()])),
        seed: 5,
    };
    let options = options(Backend::F32, OutputHeads::LanguageAndValue);
    let mut model = load_with_adapter(&base(), &new, &options).unwrap();
    gradients_of_mean_loss(&mut *model, &s);
    model.optimizer_step(&AdamW::default(), 1e-2, 1.0);
    let out = tempfile::tempdir().unwrap();
    model.save(out.path()).unwrap();
    let mut files: Vec<String> = std::fs::read_dir(out.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    files.sort();
    // The last is a file of the base that belongs to its tokenizer.
    let written = [
        "adapter_config.json",
        "adapter_model.safetensors",
        "critic.safetensors",
        "generation_config.json",
    ];
    assert_eq!(files, written);
    let mut again = load(out.path(), &options).unwrap();
    assert_eq!(again.checksums(), model.checksums());
    assert_eq!(trained(&*again), trained(&*model));
    let [before, after] =
        [&mut model, &mut again].map(|model| log_probs(&mut **model, &s, OutputSpec::SCORE));
    assert_eq!(before, after);
    let summary = inspect(out.path()).unwrap().adapter.unwrap();
    assert_eq!((summary.rank, summary.layers), (2, 4));
    let lora = trained(&*model);
    let lora = lora.iter().filter(|name| name.contains(".lora_"));
    let size = |name: &String| testing::weights(&*model, name).len() as u64;
    assert_eq!(summary.parameters, lora.map(size).sum::<u64>());
}

#[test]
fn adapters_that_cannot_be_are_refused_by_name() {
    let error = |folder: &Path| {
        let options = options(Backend::F32, OutputHeads::Language);
        load(folder, &options).err().expect("refused").to_string()
    };
    let with =
        |key: &str, to: Value| error(copy("llama", |config| config[key] = to.clone()).path());
    for (key, to, named) in [
        ("r", value!(0), "rank = 0"),
        ("r", value!(5), "adapter_config.json asks for [5, 32]"),
        ("peft_type", value!("IA3"), "peft_type = \"IA3\""),
        ("use_dora", value!(true), "use_dora = true"),
        ("rank_pattern", value!({"q_proj": 8}), "rank_pattern"),
        (
            "modules_to_save",
            value!(["lm_head"]),
            "modules_to_save: \"lm_head\"",
        ),
        ("bias", value!("all"), "bias = \"all\""),
        (
            "target_modules",
            value!(["q_proj", "c_attn"]),
            "\"c_attn\" matches no linear layer",
        ),
        (
            "target_modules",
            value!("x("),
            "is not a regular expression",
        ),
        (
            "target_modules",
            value!(["q_proj"]),
            "has a tensor `base_model.model.model.layers.0.self_attn.v_proj.lora_A.weight`",
        ),
        (
            "target_modules",
            value!(["q_proj", "v_proj", "o_proj"]),
            "has no tensor `model.layers.0.self_attn.o_proj.lora_A.weight`",
        ),
        (
            "base_model_name_or_path",
            value!("nobody/nothing"),
            "there is no such folder",
        ),
    ] {
        let said = with(key, to);
        assert!(said.contains(named) && said.contains("adapter_"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    let other = golden().join("architectures/gpt2-by-layer");
    let said = with("base_model_name_or_path", other.to_str().unwrap().into());
    assert!(
        said.contains("\"q_proj\" matches no linear layer"),
        "{said}"
    );
    let half = copy("llama", |_| ());
    std::fs::remove_file(half.path().join("adapter_model.safetensors")).unwrap();
    assert!(error(half.path()).contains("this adapter has no weights"));
}
