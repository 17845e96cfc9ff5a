//! The engine against the plain network, on random ragged batches.

use crate::{ModelConfig, OutputHeads, Plain, testing};
use rlhf_device::{Cpu, Precision};
use rlhf_objective::{
    Finish, LogDist, Network, OutputGrads, OutputSpec, Outputs, Prompt, Response, Sequences, Start,
};
use rlhf_tensor::{Init, Parameters, Rng, Storage, Stream};
use serde_json::{Value, json};

pub(super) type Transformer = super::Transformer<Cpu>;

pub(super) fn config(changes: &Value) -> ModelConfig {
    let mut config = json!({"model_type": "gpt2", "vocab_size": 61, "n_embd": 32, "n_head": 2,
        "n_layer": 2, "n_positions": 24});
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    ModelConfig::from_json(config).unwrap()
}

/// Random weights everywhere, biases, norms and value head too.
pub(super) fn parameters(config: &ModelConfig, heads: OutputHeads) -> Parameters {
    let mut parameters = Parameters::new(config.parameter_specs(heads), Storage::Trainable);
    let names: Vec<String> = parameters.specs().map(|spec| spec.name.clone()).collect();
    for (index, name) in names.iter().enumerate() {
        let mut rng = Rng::new(3, Stream::Init, index as u64, 0);
        parameters.initialize(name, Init::Normal { std: 0.15 }, &mut rng);
        if name.contains("ln_") && name.ends_with("weight") {
            let id = parameters.id(name).unwrap();
            parameters
                .weights_mut(id)
                .iter_mut()
                .for_each(|w| *w += 1.0);
        }
    }
    parameters
}

/// A ragged batch: prompts of 1 to 6 tokens, shared by up to three responses of 1 to 9.
pub(super) fn batch(vocab: usize, seed: u64) -> Sequences {
    let mut rng = Rng::new(seed, Stream::Data, 0, 0);
    let mut ids = |most: usize| -> Vec<u32> {
        let n = 1 + rng.below(most);
        (0..n).map(|_| rng.below(vocab) as u32).collect()
    };
    let prompts: Vec<Prompt> = (0..4).map(|_| Prompt::from_ids(ids(6))).collect();
    let answers = [0, 0, 1, 2, 2, 2, 0];
    let mut responses: Vec<Response> = answers
        .iter()
        .map(|prompt| Response::new(*prompt, ids(9), Finish::Length))
        .collect();
    responses.push(Response::new(3, vec![1], Finish::Length));
    Sequences::new(prompts, responses).unwrap()
}

pub(super) fn gradients(n: usize, outputs: &Outputs) -> OutputGrads {
    let wave =
        |shift: f32| -> Vec<f32> { (0..n).map(|i| (i as f32 * 1.7 + shift).sin()).collect() };
    OutputGrads {
        log_probs: Some(wave(0.0)),
        entropy: outputs.entropy.as_ref().map(|_| wave(1.0)),
        values: outputs.values.as_ref().map(|_| wave(2.0)),
        scores: None,
    }
}

pub(super) fn close(got: &[f32], want: &[f32], tolerance: f32, what: &str) {
    assert_eq!(got.len(), want.len());
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!(
            (got - want).abs() <= tolerance,
            "{what}[{i}]: {got}, want {want}"
        );
    }
}

/// All numbers of a read.
pub(super) fn numbers(outputs: &Outputs) -> Vec<Vec<f32>> {
    let all = [
        Some(&outputs.log_probs),
        outputs.entropy.as_ref(),
        outputs.values.as_ref(),
    ];
    all.into_iter()
        .flatten()
        .map(|part| part.to_vec().unwrap())
        .collect()
}

fn compare(changes: &Value, heads: OutputHeads, temperature: f64) {
    // All logits kept; the first twelve rows' alone.
    for chunk in [None, Some(2)] {
        compare_in(chunk, changes, heads, temperature);
    }
}

fn compare_in(chunk: Option<usize>, changes: &Value, heads: OutputHeads, temperature: f64) {
    let config = config(changes);
    let what = format!("{changes} {heads:?} {temperature}");
    let mut engine = Transformer::new(
        &config,
        parameters(&config, heads),
        heads,
        temperature,
        Precision::F32,
    );
    if let Some(rows) = chunk {
        engine.readout.chunk = rows * config.spec.vocab;
    }
    let mut plain = Plain::new(&config, parameters(&config, heads), heads, temperature);
    for seed in 0..3 {
        let s = batch(config.spec.vocab, seed);
        let spec = OutputSpec::TRAIN.with_entropy();
        let (got, expected) = (
            engine.forward(&s, spec).unwrap(),
            plain.forward(&s, spec).unwrap(),
        );
        if heads == OutputHeads::Value {
            close(
                &got.log_probs.to_vec().unwrap(),
                &vec![0.0; s.tokens()],
                0.0,
                &what,
            );
            let values = |o: &Outputs| o.values.as_ref().unwrap().to_vec().unwrap();
            close(&values(&got), &values(&expected), 1e-5, &what);
        } else {
            for (got, expected) in numbers(&got).iter().zip(&numbers(&expected)) {
                close(got, expected, 1e-5, &what);
            }
            let dist =
                |network: &mut dyn Network| network.log_dist(1..s.tokens() - 1).unwrap().to_vec();
            close(&dist(&mut engine), &dist(&mut plain), 2e-5, &what);
        }
        let mut g = gradients(s.tokens(), &got);
        if heads == OutputHeads::Value {
            (g.log_probs, g.entropy) = (None, None);
        }
        engine.backward(&g).unwrap();
        plain.backward(&g).unwrap();
    }
    for name in testing::names(&engine) {
        let got = testing::gradient(&engine, &name);
        let want = testing::gradient(&plain, &name);
        let largest = want.iter().fold(0f32, |m, x| m.max(x.abs()));
        assert!(
            largest.is_finite() && largest > 0.0,
            "{what}: no gradient in {name}"
        );
        close(&got, &want, 1e-4 * largest, &format!("{what}: {name}"));
    }
}

#[test]
fn sizes_and_fields_agree_with_the_plain_network() {
    for changes in [
        json!({}),
        json!({"n_embd": 24, "n_head": 1}),
        json!({"n_embd": 60, "n_head": 3, "n_inner": 50}),
        json!({"activation_function": "gelu"}),
        json!({"activation_function": "relu", "layer_norm_epsilon": 1e-2}),
        json!({"activation_function": "silu", "scale_attn_by_inverse_layer_idx": true}),
        json!({"scale_attn_weights": false, "tie_word_embeddings": false, "n_layer": 3}),
    ] {
        compare(&changes, OutputHeads::Language, 1.0);
    }
}

#[test]
fn heads_and_temperatures_agree_with_the_plain_network() {
    for (heads, temperature) in [
        (OutputHeads::LanguageAndValue, 4.0),
        (OutputHeads::Value, 1.0),
        (OutputHeads::Language, 0.7),
    ] {
        compare(
            &json!({"tie_word_embeddings": heads == OutputHeads::Language}),
            heads,
            temperature,
        );
    }
}

pub(super) fn engine(heads: OutputHeads) -> Transformer {
    engine_in(Precision::F32, heads)
}

pub(super) fn engine_in(precision: Precision, heads: OutputHeads) -> Transformer {
    let config = config(&json!({"n_embd": 40, "n_head": 2}));
    let parameters = parameters(&config, heads);
    Transformer::new(&config, parameters, heads, 1.3, precision)
}

#[test]
fn micro_batches_add_up_to_the_batch() {
    let s = batch(61, 5);
    let mut whole = engine(OutputHeads::LanguageAndValue);
    let spec = OutputSpec::TRAIN.with_entropy();
    let outputs = whole.forward(&s, spec).unwrap();
    let of_whole = gradients(s.tokens(), &outputs);
    whole.backward(&of_whole).unwrap();
    for tokens in [1, 20, 40] {
        let mut parts = engine(OutputHeads::LanguageAndValue);
        let cut = s.sorted_micro_batches(tokens, 1);
        assert!(cut.len() > 1);
        for part in cut {
            let offsets = s.offsets();
            let of = |all: &Option<Vec<f32>>| {
                let all = all.as_ref()?;
                let of_response = |i: &usize| all[offsets[*i]..offsets[i + 1]].to_vec();
                Some(part.iter().flat_map(of_response).collect())
            };
            parts.forward(&s.select(&part), spec).unwrap();
            let gradients = OutputGrads {
                log_probs: of(&of_whole.log_probs),
                entropy: of(&of_whole.entropy),
                values: of(&of_whole.values),
                scores: None,
            };
            parts.backward(&gradients).unwrap();
        }
        for id in whole.parameters.ids() {
            let of = |network: &Transformer| network.parameters.gradient(id).unwrap().to_vec();
            let largest = of(&whole).iter().fold(1f32, |m, x| m.max(x.abs()));
            close(&of(&parts), &of(&whole), 1e-6 * largest, "accumulated");
        }
    }
}

#[test]
fn rows_are_shown_while_they_are_there() {
    let s = batch(61, 6);
    assert!(s.tokens() > 24);
    // Of a trained network twelve rows are kept and two more are there at once; of a frozen one none,
    // and four.
    for (trained, largest) in [(true, 12), (false, 4)] {
        let mut engine = engine(OutputHeads::LanguageAndValue);
        (engine.readout.chunk, engine.readout.trained) = (2 * 61, trained);
        let read = engine.forward(&s, OutputSpec::SCORE).unwrap();
        let dist = engine.log_dist(0..s.tokens()).unwrap().to_vec();
        let (mut shown, mut counts) = (Vec::new(), Vec::new());
        let take = &mut |rows: std::ops::Range<usize>, log_dist: LogDist<'_>| {
            assert_eq!(rows.start, counts.iter().sum::<usize>());
            counts.push(rows.len());
            shown.extend(log_dist.to_vec());
            Ok(())
        };
        let outputs = engine.forward_with_rows(&s, take).unwrap();
        assert!(counts.len() > 2);
        assert_eq!(counts.iter().max(), Some(&largest));
        assert_eq!(counts.iter().sum::<usize>(), s.tokens());
        close(&shown, &dist, 1e-5, "shown");
        let numbers = |outputs: &Outputs| {
            let values = outputs.values.as_ref().unwrap();
            [&outputs.log_probs, values].map(|x| x.to_vec().unwrap())
        };
        assert_eq!(numbers(&outputs), numbers(&read));
        rlhf_objective::conformance::network(&mut engine, &s).unwrap();
        // Who is shown them may stop.
        let stop = &mut |_: std::ops::Range<usize>, _: LogDist<'_>| {
            Err(crate::preconditions::no_forward_pass())
        };
        assert!(engine.forward_with_rows(&s, stop).is_err());
        assert!(engine.log_dist(0..1).is_err());
    }
}

#[test]
fn what_was_read_of_other_weights_answers_nothing() {
    let mut engine = engine(OutputHeads::Language);
    let s = batch(61, 6);
    let outputs = engine.forward(&s, OutputSpec::TRAIN).unwrap();
    let g = OutputGrads {
        log_probs: Some(vec![1.0; s.tokens()]),
        ..OutputGrads::default()
    };
    engine.backward(&g).unwrap();
    let adamw = rlhf_tensor::AdamW::default();
    engine.parameters.adamw_step(&adamw, 1e-3, 1.0);
    let moved = |error: rlhf_objective::Error| error.to_string().contains("read it again");
    assert!(moved(engine.log_dist(0..1).unwrap_err()));
    assert!(moved(engine.backward(&g).unwrap_err()));
    let again = engine.forward(&s, OutputSpec::TRAIN).unwrap();
    assert_ne!(
        again.log_probs.to_vec().unwrap(),
        outputs.log_probs.to_vec().unwrap()
    );
    engine.backward(&g).unwrap();
    // A batch that is refused leaves nothing behind.
    let far = Response::new(0, vec![61], Finish::Length);
    let far = Sequences::new(vec![Prompt::from_ids(vec![1])], vec![far]).unwrap();
    assert!(engine.forward(&far, OutputSpec::TRAIN).is_err());
    assert!(engine.log_dist(0..1).is_err());
}

#[test]
fn packed_equals_one_at_a_time() {
    let mut engine = engine(OutputHeads::LanguageAndValue);
    let s = batch(61, 5);
    let together = numbers(
        &engine
            .forward(&s, OutputSpec::SCORE.with_entropy())
            .unwrap(),
    );
    for i in 0..s.len() {
        let alone = engine
            .forward(&s.select(&[i]), OutputSpec::TRAIN.with_entropy())
            .unwrap();
        let range = s.offsets()[i]..s.offsets()[i + 1];
        for (alone, together) in numbers(&alone).iter().zip(&together) {
            close(alone, &together[range.clone()], 1e-5, "alone");
        }
    }
}

#[test]
fn decoding_agrees_with_reading() {
    let mut engine = engine(OutputHeads::Language);
    let s = batch(61, 6);
    let vocab = 61;
    engine.forward(&s, OutputSpec::SCORE).unwrap();
    let dist = engine.log_dist(0..s.tokens()).unwrap().to_vec();
    let mut decoder = engine.decoder().unwrap();
    // Prompts 0 and 2 with all their responses first; those of 1 and 3 enter after two steps.
    let start = |prompt: usize, samples| Start {
        prompt: &s.prompts()[prompt].ids,
        samples,
        max_new_tokens: 9,
    };
    decoder.start(&[start(0, 3), start(2, 3)]).unwrap();
    let mut live: Vec<(usize, usize)> = [0, 1, 6, 3, 4, 5].map(|r| (r, 0)).to_vec();
    let mut steps = 0;
    while !live.is_empty() {
        assert_eq!(decoder.rows(), live.len());
        let rows = decoder.log_dist().unwrap().to_rows();
        for ((r, t), got) in live.iter().zip(rows) {
            let want = &dist[(s.offsets()[*r] + t) * vocab..][..vocab];
            close(&got, want, 1e-4, "scores");
        }
        let goes_on = |(r, t): &(usize, usize)| t + 1 < s.responses()[*r].ids.len();
        let kept: Vec<usize> = (0..live.len()).filter(|&row| goes_on(&live[row])).collect();
        decoder.gather(&kept).unwrap();
        live.retain(goes_on);
        if steps == 2 {
            decoder.start(&[start(1, 1), start(3, 1)]).unwrap();
            live.extend([(2, 0), (7, 0)]);
        } else {
            let tokens: Vec<u32> = live
                .iter()
                .map(|(r, t)| s.responses()[*r].ids[*t])
                .collect();
            decoder.step(&tokens).unwrap();
            live.iter_mut().for_each(|(_, t)| *t += 1);
        }
        steps += 1;
    }
    assert!(steps > 5 && decoder.rows() == 0);
}

#[test]
fn the_same_bytes_for_any_number_of_threads() {
    let run = |precision, threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let mut engine = engine_in(precision, OutputHeads::LanguageAndValue);
            let s = batch(61, 7);
            let outputs = engine
                .forward(&s, OutputSpec::TRAIN.with_entropy())
                .unwrap();
            engine.backward(&gradients(s.tokens(), &outputs)).unwrap();
            let ids: Vec<_> = engine.parameters.ids().collect();
            let gradients = ids
                .iter()
                .map(|id| engine.parameters.gradient(*id).unwrap().to_vec());
            let gradients: Vec<_> = gradients.collect();
            let mut decoder = engine.decoder().unwrap();
            let prompt = &s.prompts()[0].ids;
            decoder
                .start(&[Start {
                    prompt,
                    samples: 5,
                    max_new_tokens: 3,
                }])
                .unwrap();
            decoder.step(&[1, 2, 3, 4, 5]).unwrap();
            (
                numbers(&outputs),
                gradients,
                decoder.log_dist().unwrap().to_vec(),
            )
        })
    };
    for precision in [Precision::F32, Precision::Bf16] {
        assert_eq!(run(precision, 1), run(precision, 2));
    }
}

#[test]
fn the_whole_context_and_nothing_more() {
    let mut engine = engine(OutputHeads::Language);
    let sequences = |length| {
        let response = Response::new(0, vec![2; length], Finish::Length);
        Sequences::new(vec![Prompt::from_ids(vec![1; 10])], vec![response]).unwrap()
    };
    engine.forward(&sequences(15), OutputSpec::SCORE).unwrap();
    assert!(engine.forward(&sequences(16), OutputSpec::SCORE).is_err());
    let mut decoder = engine.decoder().unwrap();
    let start = |max_new_tokens| Start {
        prompt: &[1; 10],
        samples: 1,
        max_new_tokens,
    };
    assert!(decoder.start(&[start(16)]).is_err());
    decoder.start(&[start(15)]).unwrap();
    for _ in 0..14 {
        decoder.step(&[2]).unwrap();
    }
    assert!(
        decoder
            .step(&[2])
            .unwrap_err()
            .to_string()
            .contains("context of 24")
    );
    assert!(decoder.step(&[61]).unwrap_err().to_string().contains("61"));
    assert!(decoder.step(&[]).is_err());
}

#[test]
fn questions_out_of_turn_are_refused() {
    let mut critic = engine(OutputHeads::Value);
    assert!(critic.log_dist(0..0).is_err());
    let shown = critic.forward_with_rows(&batch(61, 9), &mut |_, _| Ok(()));
    assert!(
        shown
            .unwrap_err()
            .to_string()
            .contains("numbers, not tokens")
    );
    assert!(critic.backward(&OutputGrads::default()).is_err());
    assert!(critic.decoder().is_err());
    let s = batch(61, 9);
    critic.forward(&s, OutputSpec::SCORE).unwrap();
    assert!(critic.log_dist(0..1).is_err());
    assert!(critic.backward(&OutputGrads::default()).is_err());
    let mut policy = engine(OutputHeads::Language);
    policy.forward(&s, OutputSpec::TRAIN).unwrap();
    assert!(policy.log_dist(0..s.tokens() + 1).is_err());
    let short = OutputGrads {
        log_probs: Some(vec![1.0]),
        ..OutputGrads::default()
    };
    assert!(policy.backward(&short).is_err());
}
