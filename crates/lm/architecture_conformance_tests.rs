//! What must hold of every architecture's network, whatever its numbers are: on the checkpoints of
//! `architecture_tests`.

use crate::architecture_tests::{batch, cases, gradients_of_mean_loss, log_probs, options};
use crate::golden_tests::close;
use crate::{
    ActivationCheckpointing, Backend, LoadOptions, Model, OutputHeads, Precision, load, testing,
};
use rlhf_objective::{OutputSpec, Start};
use rlhf_tensor::Storage;
use std::path::Path;

fn open(folder: &Path, options: &LoadOptions) -> Box<dyn Model> {
    load(folder, options).unwrap()
}

/// Sequences that share prompts, read together, are as each of them read alone.
#[test]
fn together_is_as_one_at_a_time() {
    let (_, s) = batch();
    for case in cases().iter().filter(|case| !case.is_reward_model()) {
        for backend in [Backend::Plain, Backend::F32] {
            let heads = OutputHeads::LanguageAndValue;
            let mut model = open(&case.folder, &options(backend, heads));
            testing::randomize_only(&mut *model, "v_head.weight", 7);
            let all = model.forward(&s, OutputSpec::SCORE.with_entropy()).unwrap();
            for i in 0..s.len() {
                let one = s.select(&[i]);
                let one = model
                    .forward(&one, OutputSpec::SCORE.with_entropy())
                    .unwrap();
                for (all, one) in [
                    (&all.log_probs, &one.log_probs),
                    (all.entropy.as_ref().unwrap(), one.entropy.as_ref().unwrap()),
                    (all.values.as_ref().unwrap(), one.values.as_ref().unwrap()),
                ] {
                    let together = &all.to_vec().unwrap()[all.range(i)];
                    close(&case.name, &one.to_vec().unwrap(), together, 1e-5);
                }
            }
        }
    }
}

/// Blocks that run again in the backward pass give the same gradients to the last bit.
#[test]
fn checkpointed_activations_give_the_same_gradients() {
    let (_, s) = batch();
    for case in cases().iter().filter(|case| !case.is_reward_model()) {
        let gradients = |checkpointing| {
            let options = LoadOptions {
                activation_checkpointing: checkpointing,
                ..options(Backend::F32, OutputHeads::Language)
            };
            let mut model = open(&case.folder, &options);
            gradients_of_mean_loss(&mut *model, &s);
            let names = testing::names(&*model);
            let all = names.iter().map(|name| testing::gradient(&*model, name));
            all.collect::<Vec<_>>()
        };
        let whole = gradients(ActivationCheckpointing::None);
        assert!(
            whole == gradients(ActivationCheckpointing::Blocks),
            "{}",
            case.name
        );
    }
}

/// Matrices held in bf16, of checkpoints that are bf16, are the same numbers; products that are rounded to
/// bf16 are near.
#[test]
fn bf16_weights_and_products() {
    let (_, s) = batch();
    for case in cases().iter().filter(|case| !case.is_reward_model()) {
        let of = |storage, precision| {
            let options = LoadOptions {
                storage,
                ..options(Backend::Engine(precision), OutputHeads::Language)
            };
            log_probs(&mut *open(&case.folder, &options), &s, OutputSpec::SCORE)
        };
        let exact = of(Storage::Frozen, Precision::F32);
        if case.is_in_bf16() {
            let held = of(Storage::FrozenBf16, Precision::F32);
            close(&case.name, &held, &exact, 1e-5);
        }
        let rounded = of(Storage::FrozenBf16, Precision::Bf16);
        close(&case.name, &rounded, &exact, 0.15);
        assert_ne!(rounded, exact, "{}", case.name);
    }
}

/// Rows that enter late, branch and leave decode as whole histories are read.
#[test]
fn branches_decode_as_their_histories_are_read() {
    let (batch, _) = batch();
    let prompts: Vec<Vec<u32>> = serde_json::from_value(batch["prompts"].clone()).unwrap();
    for case in cases().iter().filter(|case| !case.is_reward_model()) {
        let heads = OutputHeads::Language;
        let [mut model, mut other] =
            [Backend::F32, Backend::Plain].map(|b| open(&case.folder, &options(b, heads)));
        let [mut cached, mut plain] = [&mut model, &mut other].map(|m| m.decoder().unwrap());
        let start = |prompt, samples| Start {
            prompt,
            samples,
            max_new_tokens: 14,
        };
        for decoder in [&mut cached, &mut plain] {
            decoder.start(&[start(&prompts[0], 2)]).unwrap();
            decoder.step(&[5, 9]).unwrap();
            decoder.start(&[start(&prompts[1], 1)]).unwrap();
            for step in 0..10 {
                let tokens: Vec<u32> = (0..3).map(|row| (7 * step + row) % 50).collect();
                decoder.step(&tokens).unwrap();
                decoder.gather(&[1, 2, 1]).unwrap();
            }
        }
        let [got, expected] = [&cached, &plain].map(|d| d.log_dist().unwrap().to_vec());
        close(&case.name, &got, &expected, 5e-5);
    }
}
