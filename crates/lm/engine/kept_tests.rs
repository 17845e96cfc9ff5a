//! What is kept of a read serves its backward passes, and the same read again.

use super::tests::{Transformer, batch, close, engine, engine_in, gradients, numbers};
use crate::{ActivationCheckpointing, OutputHeads};
use rlhf_device::Precision;
use rlhf_objective::{Network, OutputGrads, OutputSpec};

/// The gradient of each parameter.
fn sums(engine: &Transformer) -> Vec<Vec<f32>> {
    let ids = engine.parameters.ids();
    let gradient = |id| engine.parameters.gradient(id).unwrap().to_vec();
    ids.map(gradient).collect()
}

/// Reads to train and to score in turn, and backward passes that repeat.
#[test]
fn blocks_that_run_again_leave_the_same_bits() {
    for (precision, heads) in [
        (Precision::F32, OutputHeads::LanguageAndValue),
        (Precision::Bf16, OutputHeads::LanguageAndValue),
        (Precision::F32, OutputHeads::Value),
        (Precision::F32, OutputHeads::Score),
    ] {
        let [kept, again] = [
            ActivationCheckpointing::None,
            ActivationCheckpointing::Blocks,
        ]
        .map(|activation_checkpointing| {
            let mut engine =
                engine_in(precision, heads).with_activation_checkpointing(activation_checkpointing);
            let mut said = Vec::new();
            for seed in [5, 6, 5] {
                let s = batch(61, seed);
                let spec = OutputSpec::TRAIN.with_entropy();
                let outputs = engine.forward(&s, spec).unwrap();
                let gradients = match heads {
                    OutputHeads::Score => OutputGrads {
                        scores: Some((0..s.len()).map(|i| (i as f32).cos()).collect()),
                        ..OutputGrads::default()
                    },
                    _ => gradients(s.tokens(), &outputs),
                };
                engine.backward(&gradients).unwrap();
                engine.backward(&gradients).unwrap();
                said.extend(numbers(&outputs));
                engine.forward(&batch(61, 7), OutputSpec::SCORE).unwrap();
            }
            (said, sums(&engine))
        });
        let touched = kept.1.iter().flatten().filter(|g| **g != 0.0).count();
        assert!(touched > kept.1.iter().map(Vec::len).sum::<usize>() / 2);
        assert!(kept == again, "{heads:?}");
    }
}

#[test]
fn a_second_backward_pass_adds_the_same_again() {
    let mut engine = engine(OutputHeads::LanguageAndValue);
    let s = batch(61, 8);
    let outputs = engine
        .forward(&s, OutputSpec::TRAIN.with_entropy())
        .unwrap();
    let g = gradients(s.tokens(), &outputs);
    engine.backward(&g).unwrap();
    let once = sums(&engine);
    engine.backward(&g).unwrap();
    for (once, twice) in once.iter().zip(sums(&engine)) {
        let want: Vec<f32> = once.iter().map(|x| 2.0 * x).collect();
        let largest = want.iter().fold(0f32, |m, x| m.max(x.abs()));
        close(&twice, &want, 1e-5 * largest, "twice");
    }
}

/// A batch that was read to train is not read again while no weight moves.
#[test]
fn the_same_read_twice_is_one() {
    let new = || engine(OutputHeads::LanguageAndValue);
    let (s, other) = (batch(61, 1), batch(61, 2));
    let spec = OutputSpec::TRAIN.with_entropy();
    let mut engine = new();
    let first = engine.forward(&s, spec).unwrap();
    // What the answer does not need again is spoilt to see whether it is computed again.
    let spoil = |engine: &mut Transformer| engine.readout.hidden[0] = f32::NAN;
    let ran = |engine: &mut Transformer| engine.readout.hidden[0].is_finite();
    let before = engine.readout.hidden[0];
    spoil(&mut engine);
    let second = engine.forward(&s, spec).unwrap();
    assert!(!ran(&mut engine));
    assert_eq!(numbers(&first), numbers(&second));
    engine.readout.hidden[0] = before;
    let g = gradients(s.tokens(), &second);
    engine.backward(&g).unwrap();
    let mut fresh = new();
    fresh.forward(&s, spec).unwrap();
    fresh.backward(&g).unwrap();
    assert_eq!(sums(&engine), sums(&fresh));
    // After its backward pass, after another batch, a decoder or a move, it is.
    type Between<'a> = &'a dyn Fn(&mut Transformer);
    let between: [Between; 4] = [
        &|_| (),
        &|engine| drop(engine.forward(&other, spec).unwrap()),
        &|engine| drop(engine.decoder().unwrap()),
        &|engine| {
            engine.forward(&s, spec).unwrap();
            let adamw = rlhf_tensor::AdamW::default();
            engine.parameters.adamw_step(&adamw, 0.0, 1.0);
        },
    ];
    for between in between {
        between(&mut engine);
        spoil(&mut engine);
        engine.forward(&s, spec).unwrap();
        assert!(ran(&mut engine));
    }
    // One that was read for its numbers alone kept too little.
    engine.forward(&other, OutputSpec::SCORE).unwrap();
    spoil(&mut engine);
    engine.forward(&other, OutputSpec::TRAIN).unwrap();
    assert!(ran(&mut engine));
}
