//! A real model: SmolLM2-135M-Instruct as a Hugging Face folder in bf16, against what transformers computes.
//! `get.py` beside the golden numbers makes the folder.

use crate::{
    ActivationCheckpointing, Backend, LoadOptions, Model, OutputHeads, OutputVocabulary, Tokenizer,
    load, test_data,
};
use rlhf_objective::{Finish, OutputSpec, Prompt, Response, Sequences, Start};
use rlhf_tensor::Storage;
use serde_json::Value;
use std::path::PathBuf;

#[expect(clippy::disallowed_methods, reason = "a test finds its data")]
fn folder() -> PathBuf {
    let folder = std::env::var_os("RLHF_TEST_SMOLLM2")
        .expect("RLHF_TEST_SMOLLM2 is not set: set it to the folder that get.py --hf has made");
    PathBuf::from(folder).join("hf")
}

fn model() -> Box<dyn Model> {
    let options = LoadOptions {
        storage: Storage::Frozen,
        activation_checkpointing: ActivationCheckpointing::None,
        heads: OutputHeads::Language,
        vocabulary: OutputVocabulary::Whole,
        temperature: 1.0,
        backend: Backend::F32,
    };
    load(&folder(), &options).unwrap()
}

fn golden() -> Vec<Value> {
    let path = test_data("ckpt-smollm2").join("golden.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
#[ignore = "needs RLHF_TEST_DATA: ckpt-smollm2, and RLHF_TEST_SMOLLM2: what get.py makes"]
fn log_probs_and_tokens_of_smollm2() {
    let (mut model, golden) = (model(), golden());
    let tokenizer = Tokenizer::load(&folder(), model.vocab()).unwrap();
    let prompts = golden.iter().map(|item| {
        let text = item["prompt_text"].as_str().unwrap();
        assert_eq!(tokenizer.encode(text).unwrap(), ids(&item["prompt_ids"]));
        Prompt::from_ids(ids(&item["prompt_ids"]))
    });
    let responses = golden.iter().enumerate();
    let responses = responses
        .map(|(i, item)| Response::new(i, ids(&item["completion_ids"]), Finish::Eos))
        .collect();
    let sequences = Sequences::new(prompts.collect(), responses).unwrap();
    let outputs = model.forward(&sequences, OutputSpec::SCORE).unwrap();
    let got = outputs.log_probs.to_vec().unwrap();
    let expected: Vec<f32> = golden
        .iter()
        .flat_map(|item| -> Vec<f32> {
            serde_json::from_value(item["log_probs_bf16"].clone()).unwrap()
        })
        .collect();
    let off = got.iter().zip(&expected).map(|(a, b)| (a - b).abs());
    let off = off.fold(0f32, f32::max);
    assert!(off < 1e-3, "{off} nats");
}

#[test]
#[ignore = "needs RLHF_TEST_DATA: ckpt-smollm2, and RLHF_TEST_SMOLLM2: what get.py makes"]
fn greedy_tokens_of_smollm2() {
    let mut model = model();
    for item in golden() {
        let (prompt, expected) = (ids(&item["prompt_ids"]), ids(&item["greedy_f32"]));
        let mut decoder = model.decoder().unwrap();
        let start = Start {
            prompt: &prompt,
            samples: 1,
            max_new_tokens: expected.len(),
        };
        decoder.start(&[start]).unwrap();
        let mut got = Vec::new();
        while got.len() < expected.len() {
            let best = decoder.log_dist().unwrap().candidates(1);
            got.push(best[0][0].0);
            if got.len() < expected.len() {
                decoder.step(&[best[0][0].0]).unwrap();
            }
        }
        assert_eq!(got, expected, "{}", item["user"]);
    }
}
