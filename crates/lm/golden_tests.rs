//! The plain network against numbers computed by others: PyTorch and transformers.

use crate::checkpoint::Tensors;
use crate::file_order::FileOrders;
use crate::{
    ActivationCheckpointing, Backend, LoadOptions, ModelConfig, OutputHeads, OutputVocabulary,
    Packed, Plain, load, test_data, testing,
};
use rlhf_objective::{Finish, OutputGrads, OutputSpec, Prompt, Response, Sequences};
use rlhf_tensor::{AdamW, Parameters, Storage};
use safetensors::SafeTensors;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

fn plain(folder: &Path) -> Plain {
    let config = ModelConfig::load(folder).unwrap();
    let specs = config.parameter_specs(OutputHeads::Language);
    let tensors = Tensors::open_model(folder, config.architecture.canonical).unwrap();
    tensors.check(&specs, &[]).unwrap();
    let mut parameters = Parameters::new(specs, Storage::Frozen);
    tensors
        .fill(&mut parameters, &FileOrders::of(&config))
        .unwrap();
    Plain::new(&config, parameters, OutputHeads::Language, 1.0)
}

pub(crate) fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// All stages of one history and its logits, flat.
fn stages(network: &Plain, ids: &[u32], vocab: usize) -> BTreeMap<String, Vec<f32>> {
    let packed = Packed::histories(&[ids.to_vec()], vocab, ids.len()).unwrap();
    let mut stages = BTreeMap::new();
    let mut keep = |stage: &str, x: &rlhf_tensor::Tensor| {
        let flat = x.flatten_all().unwrap().to_vec1().unwrap();
        stages.insert(stage.to_owned(), flat);
    };
    let logits = network.logits(&packed, &mut keep).unwrap();
    keep("logits", &logits);
    stages
}

/// Where both are minus infinity they agree.
pub(crate) fn close(what: &str, got: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        let same = got == expected || (got - expected).abs() <= tolerance;
        assert!(same, "{what}[{i}]: {got}, expected {expected}");
    }
}

#[test]
#[ignore = "needs RLHF_TEST_DATA: ckpt-tiny-gpt2-hf"]
fn tiny_gpt2_as_transformers_computes_it() {
    let folder = test_data("ckpt-tiny-gpt2-hf");
    let golden = json(&folder.join("gpt2_tiny_golden.json"));
    let numbers = |key: &str| -> Vec<f32> { serde_json::from_value(golden[key].clone()).unwrap() };
    let ids: Vec<u32> = serde_json::from_value(golden["input_ids"].clone()).unwrap();
    let stages = stages(&plain(&folder), &ids, 61);
    for (stage, key) in [
        ("embedding", "hidden_after_embed"),
        ("block0", "hidden_after_block0"),
        ("norm", "hidden_after_lnf"),
        ("logits", "logits"),
    ] {
        close(stage, &stages[stage], &numbers(key), 1e-5);
    }
}

#[test]
#[ignore = "needs RLHF_TEST_DATA: ckpt-gpt-nano-sort"]
fn every_stage_of_the_sorting_network() {
    let folder = test_data("ckpt-gpt-nano-sort");
    let golden = json(&folder.join("gpt-nano-sort-t0-partials.json"));
    let numbers = |key: &str| base64_floats(golden[key]["data"].as_str().unwrap());
    let network = plain(&folder.join("hf"));
    let ids: Vec<u32> = numbers("idx").iter().map(|id| *id as u32).collect();
    for (row, ids) in ids.chunks(11).enumerate() {
        let mut stages = stages(&network, ids, 3);
        let exp: Vec<f32> = stages["logits"].iter().map(|x| x.exp()).collect();
        let share = |row: &[f32]| row.iter().map(|x| x / row.iter().sum::<f32>()).collect();
        let probs = exp.chunks(3).flat_map(|row| -> Vec<f32> { share(row) });
        stages.insert("probs".into(), probs.collect());
        for (stage, key) in [
            ("tokens", "tok_emb"),
            ("positions", "pos_emb"),
            ("embedding", "x"),
            ("block0.norm_1", "ln1"),
            ("block0.qkv", "qkv"),
            ("block0.queries", "q"),
            ("block0.keys", "k"),
            ("block0.values", "v"),
            ("block0.scores", "att"),
            ("block0.shares", "attSm"),
            ("block0.attention", "y"),
            ("block0.attention_out", "yProj"),
            ("block0.residual", "attnResid"),
            ("block0.norm_2", "ln2"),
            ("block0.inner", "fc"),
            ("block0.active", "gelu"),
            ("block0.inner_out", "mlp"),
            ("block0", "mlpResid"),
            ("block0", "block0"),
            ("block1", "block1"),
            ("block2", "block2"),
            ("norm", "ln_f"),
            ("logits", "lm_head"),
            ("probs", "probs"),
        ] {
            let got = &stages[stage];
            let all = numbers(key);
            // The position embedding is stored once, the rest once a sequence.
            let row = if key == "pos_emb" { 0 } else { row };
            let expected = &all[row * got.len()..][..got.len()];
            close(key, got, expected, 2e-5);
        }
    }
}

fn base64_floats(text: &str) -> Vec<f32> {
    let digit = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => panic!("not base64: {c}"),
    };
    let text = text.trim_end_matches('=').as_bytes();
    let group = |group: &[u8]| {
        let bits = group
            .iter()
            .fold(0u32, |bits, c| bits << 6 | u32::from(digit(*c)));
        let bytes = (bits << (6 * (4 - group.len()))).to_be_bytes();
        bytes[1..group.len()].to_vec()
    };
    let bytes: Vec<u8> = text.chunks(4).flat_map(group).collect();
    let (floats, rest) = bytes.as_chunks::<4>();
    assert!(rest.is_empty());
    floats.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// The files that scripts/golden.py wrote.
pub(crate) struct Golden {
    pub(crate) folder: PathBuf,
    batch: Value,
    pub(crate) sequences: Sequences,
}

impl Golden {
    pub(crate) fn new(part: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
        let folder = folder.join(part);
        let batch = json(&folder.join("batch.json"));
        let ids = |ids: &Value| serde_json::from_value(ids.clone()).unwrap();
        let prompts = batch["prompts"].as_array().unwrap().iter();
        let responses = batch["responses"].as_array().unwrap().iter();
        let response = |response: &Value| {
            let prompt = response["prompt"].as_u64().unwrap() as usize;
            Response::new(prompt, ids(&response["ids"]), Finish::Length)
        };
        let prompts = prompts.map(|prompt| Prompt::from_ids(ids(prompt)));
        let sequences = Sequences::new(prompts.collect(), responses.map(response).collect());
        Self {
            sequences: sequences.unwrap(),
            folder,
            batch,
        }
    }

    fn models(&self) -> Vec<String> {
        let names = self.batch["losses"].as_object().unwrap().keys();
        names.cloned().collect()
    }

    pub(crate) fn numbers(&self, model: &str) -> BTreeMap<String, Vec<f32>> {
        let bytes = std::fs::read(self.folder.join(model).join("golden.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let floats = |data: &[u8]| -> Vec<f32> {
            let chunks = data.as_chunks::<4>().0.iter();
            chunks.map(|b| f32::from_le_bytes(*b)).collect()
        };
        let all = tensors.tensors().into_iter();
        all.map(|(name, view)| (name, floats(view.data())))
            .collect()
    }
}

/// Relative to the largest value of the tensor.
pub(crate) fn relative(what: &str, got: &[f32], expected: &[f32]) {
    let largest = expected.iter().fold(0f32, |max, x| max.max(x.abs()));
    close(what, got, expected, 1e-4 * largest);
}

#[test]
fn logits_of_transformers() {
    let golden = Golden::new("model");
    for model in golden.models() {
        let numbers = golden.numbers(&model);
        let network = plain(&golden.folder.join(&model));
        for (i, response) in golden.sequences.responses().iter().enumerate() {
            let prompt = &golden.sequences.prompt_of(i).ids;
            let read = [prompt, &response.ids[..response.ids.len() - 1]].concat();
            let logits = &stages(&network, &read, 19)["logits"];
            close(&model, logits, &numbers[&format!("logits.{i}")], 1e-5);
        }
    }
}

const BACKENDS: [Backend; 2] = [Backend::Plain, Backend::F32];

fn trainable(backend: Backend) -> LoadOptions {
    LoadOptions {
        storage: Storage::Trainable,
        activation_checkpointing: ActivationCheckpointing::None,
        heads: OutputHeads::Language,
        vocabulary: OutputVocabulary::Whole,
        temperature: 1.0,
        backend,
    }
}

#[test]
fn gradients_of_pytorch() {
    let golden = Golden::new("model");
    for (model, backend) in golden
        .models()
        .iter()
        .flat_map(|model| BACKENDS.map(|backend| (model, backend)))
    {
        let numbers = golden.numbers(model);
        let mut network = load(&golden.folder.join(model), &trainable(backend)).unwrap();
        let outputs = network
            .forward(&golden.sequences, OutputSpec::TRAIN)
            .unwrap();
        let log_probs = outputs.log_probs.to_vec().unwrap();
        close("log_probs", &log_probs, &numbers["log_probs"], 1e-5);
        let gradients = OutputGrads {
            log_probs: Some(numbers["weights"].clone()),
            ..OutputGrads::default()
        };
        network.backward(&gradients).unwrap();
        for name in testing::names(&*network) {
            let got = testing::gradient(&*network, &name);
            let what = format!("{model} {backend:?} {name}");
            relative(&what, &got, &numbers[&format!("gradient.{name}")]);
        }
    }
}

#[test]
fn ten_adamw_steps_of_pytorch() {
    let golden = Golden::new("model");
    let field = |name: &str| golden.batch["adamw"][name].as_f64().unwrap();
    let adamw = AdamW {
        beta1: field("beta1"),
        beta2: field("beta2"),
        epsilon: field("epsilon"),
        weight_decay: field("weight_decay"),
    };
    for (model, backend) in golden
        .models()
        .iter()
        .flat_map(|model| BACKENDS.map(|backend| (model, backend)))
    {
        let mut network = load(&golden.folder.join(model), &trainable(backend)).unwrap();
        let n = golden.sequences.tokens();
        for (step, expected) in golden.batch["losses"][model]
            .as_array()
            .unwrap()
            .iter()
            .enumerate()
        {
            let outputs = network
                .forward(&golden.sequences, OutputSpec::TRAIN)
                .unwrap();
            let log_probs = outputs.log_probs.to_vec().unwrap();
            let loss = -log_probs.iter().map(|x| f64::from(*x)).sum::<f64>() / n as f64;
            let expected = expected.as_f64().unwrap();
            let off = (loss - expected).abs() / expected;
            assert!(
                off < 1e-4,
                "{model} step {step}: {loss}, expected {expected}"
            );
            if step < 10 {
                let gradients = OutputGrads {
                    log_probs: Some(vec![-1.0 / n as f32; n]),
                    ..OutputGrads::default()
                };
                network.backward(&gradients).unwrap();
                network.optimizer_step(&adamw, field("learning_rate"), 1.0);
            }
        }
        let numbers = golden.numbers(model);
        for name in testing::names(&*network) {
            let mut got = testing::weights(&*network, &name);
            let mut expected = numbers[&format!("after.{name}")].clone();
            if name.ends_with("c_attn.bias") {
                // A bias on all keys changes no attention: its gradient is rounding alone, which
                // AdamW makes a step of any size.
                let width = got.len() / 3;
                got.drain(width..2 * width);
                expected.drain(width..2 * width);
            }
            relative(&format!("{model} {backend:?} {name}"), &got, &expected);
        }
    }
}
