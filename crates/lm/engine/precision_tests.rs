//! What products of bf16 change: bounds, and what they do not.

use super::tests::{Transformer, batch, engine_in, gradients, numbers};
use crate::OutputHeads;
use rlhf_device::Precision::{Bf16, F32};
use rlhf_objective::{Network, OutputSpec, Start};

/// |a − b| / |a|, of vectors.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    let square = |x: f64| x * x;
    let apart: f64 = a.iter().zip(b).map(|(a, b)| square(f64::from(a - b))).sum();
    let size: f64 = a.iter().map(|a| square(f64::from(*a))).sum();
    (apart / size).sqrt()
}

/// Log-probs, entropies and values move by hundredths, and they do move.
#[test]
fn outputs_stay_near_those_of_f32() {
    let (mut exact, mut rounded) = (
        engine_in(F32, OutputHeads::LanguageAndValue),
        engine_in(Bf16, OutputHeads::LanguageAndValue),
    );
    let mut largest = 0f32;
    for seed in 0..3 {
        let s = batch(61, seed);
        let spec = OutputSpec::SCORE.with_entropy();
        let read = |network: &mut Transformer| numbers(&network.forward(&s, spec).unwrap());
        for (exact, rounded) in read(&mut exact).iter().zip(&read(&mut rounded)) {
            for (exact, rounded) in exact.iter().zip(rounded) {
                assert!((exact - rounded).abs() < 0.06, "{exact} {rounded}");
                largest = largest.max((exact - rounded).abs());
            }
        }
    }
    assert!(largest > 1e-4, "bf16 changed nothing: {largest}");
}

/// Each tensor's gradient keeps its direction to about a hundredth.
#[test]
fn gradients_stay_near_those_of_f32() {
    let (mut exact, mut rounded) = (
        engine_in(F32, OutputHeads::LanguageAndValue),
        engine_in(Bf16, OutputHeads::LanguageAndValue),
    );
    for network in [&mut exact, &mut rounded] {
        let s = batch(61, 4);
        let outputs = network
            .forward(&s, OutputSpec::TRAIN.with_entropy())
            .unwrap();
        network.backward(&gradients(s.tokens(), &outputs)).unwrap();
    }
    for id in exact.parameters.ids() {
        let name = &exact.parameters.spec(id).name;
        let of = |network: &Transformer| network.parameters.gradient(id).unwrap().to_vec();
        let apart = distance(&of(&exact), &of(&rounded));
        // The gradient of a key's bias is zero: every score of a row moves by as much.
        let bound = if name.ends_with("c_attn.bias") {
            0.2
        } else {
            0.04
        };
        assert!(apart < bound, "{name}: {apart}");
    }
}

/// Packed weights of bf16 decode what the training kernel reads, to its rounding.
#[test]
fn decoding_stays_near_reading() {
    let mut engine = engine_in(Bf16, OutputHeads::Language);
    let s = batch(61, 6);
    engine.forward(&s, OutputSpec::SCORE).unwrap();
    let dist = engine.log_dist(0..s.responses()[0].ids.len()).unwrap();
    let dist = dist.to_rows();
    let mut decoder = engine.decoder().unwrap();
    let start = Start {
        prompt: &s.prompts()[0].ids,
        samples: 1,
        max_new_tokens: 9,
    };
    decoder.start(&[start]).unwrap();
    let ids = &s.responses()[0].ids;
    for (t, want) in dist.iter().enumerate() {
        for (got, want) in decoder.log_dist().unwrap().to_vec().iter().zip(want) {
            assert!((got - want).abs() < 0.06);
        }
        if t + 1 < ids.len() {
            decoder.step(&[ids[t]]).unwrap();
        }
    }
}
