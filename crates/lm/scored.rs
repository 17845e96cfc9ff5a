//! Reward models: against transformers' numbers, and what must hold of them.

use crate::golden_tests::{Golden, close, json, relative};
use crate::{
    ActivationCheckpointing, Backend, LoadOptions, Model, OutputHeads, OutputVocabulary, init,
    inspect, load, testing,
};
use rlhf_objective::{Finish, OutputGrads, OutputSpec, Prompt, Response, Sequences};
use rlhf_tensor::Storage;
use serde_json::json;
use std::path::Path;

const BACKENDS: [Backend; 2] = [Backend::Plain, Backend::F32];
const MODELS: [&str; 3] = ["no-pad", "pad-is-eos", "pad-apart"];

fn options(backend: Backend, storage: Storage) -> LoadOptions {
    LoadOptions {
        storage,
        activation_checkpointing: ActivationCheckpointing::None,
        heads: OutputHeads::Score,
        vocabulary: OutputVocabulary::Whole,
        temperature: 1.0,
        backend,
    }
}

fn trainable(folder: &Path, backend: Backend) -> Box<dyn Model> {
    load(folder, &options(backend, Storage::Trainable)).unwrap()
}

fn scores(model: &mut dyn Model, sequences: &Sequences) -> Vec<f32> {
    let outputs = model.forward(sequences, OutputSpec::SCORE).unwrap();
    outputs.scores.unwrap().to_vec().unwrap()
}

#[test]
fn scores_and_gradients_of_transformers() {
    let golden = Golden::new("reward");
    for (name, backend) in MODELS
        .into_iter()
        .flat_map(|name| BACKENDS.map(|backend| (name, backend)))
    {
        let numbers = golden.numbers(name);
        let mut model = trainable(&golden.folder.join(name), backend);
        let outputs = model.forward(&golden.sequences, OutputSpec::TRAIN).unwrap();
        let scores = outputs.scores.unwrap().to_vec().unwrap();
        close(name, &scores, &numbers["scores"], 1e-5);
        let gradients = OutputGrads {
            scores: Some(numbers["weights"].clone()),
            ..OutputGrads::default()
        };
        model.backward(&gradients).unwrap();
        for parameter in testing::names(&*model) {
            let got = testing::gradient(&*model, &parameter);
            let what = format!("{name} {backend:?} {parameter}");
            assert!(got.iter().any(|x| *x != 0.0), "{what} is dead");
            relative(&what, &got, &numbers[&format!("gradient.{parameter}")]);
        }
    }
}

#[test]
fn together_is_as_one_at_a_time_and_pads_at_the_end_do_not_count() {
    let golden = Golden::new("reward");
    let s = &golden.sequences;
    // What is left of the last response, all EOS, and its prompt, which ends with one.
    let bare = Response::new(0, vec![2], Finish::Length);
    let bare = Sequences::new(vec![Prompt::from_ids(vec![9])], vec![bare]).unwrap();
    for (name, backend) in MODELS
        .into_iter()
        .flat_map(|name| BACKENDS.map(|backend| (name, backend)))
    {
        let mut model = trainable(&golden.folder.join(name), backend);
        let all = scores(&mut *model, s);
        for (i, together) in all.iter().enumerate() {
            let alone = scores(&mut *model, &s.select(&[i]));
            close(name, &alone, &[*together], 1e-5);
        }
        let off = (scores(&mut *model, &bare)[0] - all[4]).abs();
        assert_eq!(off < 1e-5, name == "pad-is-eos", "{name}: {off}");
    }
}

#[test]
fn written_as_transformers_writes_and_read_again() {
    let golden = Golden::new("reward");
    for name in MODELS {
        let out = tempfile::tempdir().unwrap();
        let source = golden.folder.join(name);
        let mut model = trainable(&source, Backend::F32);
        model.save(out.path()).unwrap();
        let (before, after) = (&source, out.path());
        let (before, after) = (before.join("config.json"), after.join("config.json"));
        let (mut before, mut after) = (json(&before), json(&after));
        before["torch_dtype"] = "float32".into();
        assert_eq!(before.take(), after.take(), "{name}");
        let mut again = trainable(out.path(), Backend::F32);
        assert_eq!(
            scores(&mut *again, &golden.sequences),
            scores(&mut *model, &golden.sequences)
        );
        let summary = inspect(out.path()).unwrap();
        assert!(summary.reward_model);
        assert_eq!(summary.parameters, testing::count(&*model) as u64);
    }
}

#[test]
fn a_language_model_becomes_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    let config = json!({"model_type": "gpt2", "vocab_size": 19, "n_positions": 9, "n_embd": 6,
        "n_head": 2, "n_layer": 1, "eos_token_id": 18, "pad_token_id": 18,
        "tie_word_embeddings": false});
    std::fs::write(&path, config.to_string()).unwrap();
    init(&path, 1, folder.path()).unwrap();
    let frozen = load(folder.path(), &options(Backend::F32, Storage::Frozen));
    let error = frozen.err().unwrap().to_string();
    assert!(error.contains("score.weight"), "{error}");
    let mut model = trainable(folder.path(), Backend::F32);
    let s = Golden::new("reward").sequences;
    assert_eq!(scores(&mut *model, &s), [0.0; 5]);
    assert!(model.decoder().is_err());
    let out = tempfile::tempdir().unwrap();
    model.save(out.path()).unwrap();
    let config = json(&out.path().join("config.json"));
    assert_eq!(config["architectures"][0], "GPT2ForSequenceClassification");
    assert_eq!(config["id2label"], json!({"0": "reward"}));
    assert!(config["pad_token_id"].is_null());
    load(out.path(), &options(Backend::Plain, Storage::Frozen)).unwrap();
    let language = LoadOptions {
        heads: OutputHeads::Language,
        ..options(Backend::F32, Storage::Frozen)
    };
    assert!(load(out.path(), &language).is_err());
}
