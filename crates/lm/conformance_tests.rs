//! What must hold of every network, whichever implementation computes it.

use crate::{
    ActivationCheckpointing, Backend, LoadOptions, Model, OutputHeads, OutputVocabulary,
    Restricted, init, load, testing,
};
use rlhf_objective::{
    Decoder, Finish, Network, OutputGrads, OutputSpec, Prompt, Response, Sequences, Start,
};
use rlhf_tensor::{Rng, Storage, Stream};
use serde_json::{Value, json};
use tempfile::TempDir;

const BACKENDS: [Backend; 2] = [Backend::Plain, Backend::F32];
const VOCAB: usize = 13;

fn config() -> Value {
    json!({"model_type": "gpt2", "vocab_size": VOCAB, "n_positions": 9, "n_embd": 10, "n_head": 2,
        "n_layer": 2, "n_inner": 7, "tie_word_embeddings": false})
}

/// A network whose weights are large enough to matter, norms and biases too.
fn network(
    config: &Value,
    backend: Backend,
    heads: OutputHeads,
    temperature: f64,
) -> Box<dyn Model> {
    let folder: TempDir = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    std::fs::write(&path, config.to_string()).unwrap();
    init(&path, 1, folder.path()).unwrap();
    let options = LoadOptions {
        storage: Storage::Trainable,
        activation_checkpointing: ActivationCheckpointing::None,
        heads,
        vocabulary: OutputVocabulary::Whole,
        temperature,
        backend,
    };
    let mut model = load(folder.path(), &options).unwrap();
    testing::randomize(&mut *model, 2);
    model
}

/// Ragged, prompts shared by responses apart from each other, one response of one token.
fn sequences() -> Sequences {
    let prompts = [&[3, 1, 4][..], &[1], &[5, 9, 2, 6]];
    let answers = [
        (0, &[5, 3, 5, 8][..]),
        (2, &[9]),
        (1, &[7, 9, 3, 2, 3, 8, 4, 6, 2]),
        (0, &[6, 4]),
        (2, &[3, 3, 8]),
    ];
    let prompts = prompts.iter().map(|ids| Prompt::from_ids(ids.to_vec()));
    let answers = answers.map(|(p, ids)| Response::new(p, ids.to_vec(), Finish::Length));
    Sequences::new(prompts.collect(), answers.to_vec()).unwrap()
}

fn dist(model: &mut dyn Network, rows: std::ops::Range<usize>) -> Vec<f32> {
    model.log_dist(rows).unwrap().to_vec()
}

fn close(got: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(got.len(), expected.len());
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!(
            (got - expected).abs() <= tolerance,
            "[{i}]: {got}, expected {expected}"
        );
    }
}

#[test]
fn together_is_as_one_at_a_time() {
    let s = sequences();
    for backend in BACKENDS {
        let mut model = network(&config(), backend, OutputHeads::LanguageAndValue, 1.0);
        let all = model.forward(&s, OutputSpec::SCORE.with_entropy()).unwrap();
        let whole = dist(&mut *model, 0..s.tokens());
        let sizes: Vec<f32> = whole
            .chunks(VOCAB)
            .map(|row| row.iter().map(|x| x.exp()).sum())
            .collect();
        close(&sizes, &vec![1.0; s.tokens()], 1e-5);
        for i in 0..s.len() {
            let one = model
                .forward(&s.select(&[i]), OutputSpec::SCORE.with_entropy())
                .unwrap();
            let range = all.log_probs.range(i);
            let pairs = [
                (&all.log_probs, &one.log_probs),
                (all.entropy.as_ref().unwrap(), one.entropy.as_ref().unwrap()),
                (all.values.as_ref().unwrap(), one.values.as_ref().unwrap()),
            ];
            for (all, one) in pairs {
                close(
                    &one.to_vec().unwrap(),
                    &all.to_vec().unwrap()[range.clone()],
                    1e-5,
                );
            }
            let alone = dist(&mut *model, 0..range.len());
            close(&alone, &whole[range.start * VOCAB..range.end * VOCAB], 1e-5);
        }
    }
}

/// The laws that anybody's network can be checked by; of a restricted one too.
#[test]
fn every_network_keeps_the_public_laws() {
    for backend in BACKENDS {
        let mut model = network(&config(), backend, OutputHeads::Language, 2.0);
        rlhf_objective::conformance::network(&mut *model, &sequences()).unwrap();
        let tokens = vec![5, 3, 8, 9, 7, 2, 4, 6];
        let mut few = Restricted::new(model, tokens).unwrap();
        rlhf_objective::conformance::network(&mut few, &sequences()).unwrap();
    }
}

/// What is left of a network's distribution on a few tokens.
#[test]
fn a_restricted_network_is_renormalized() {
    let prompt = vec![Prompt::from_ids(vec![3, 1, 4])];
    let answer = |ids: &[u32]| Response::new(0, ids.to_vec(), Finish::Length);
    let s = Sequences::new(prompt.clone(), vec![answer(&[9, 2]), answer(&[2, 9, 9])]).unwrap();
    let mut model = network(&config(), Backend::F32, OutputHeads::LanguageAndValue, 1.0);
    let plain = model.forward(&s, OutputSpec::SCORE).unwrap();
    let values = plain.values.unwrap().to_vec().unwrap();
    let rows = dist(&mut *model, 0..5);
    let mut few = Restricted::new(model, vec![9, 2]).unwrap();
    let read = few.forward(&s, OutputSpec::SCORE.with_entropy()).unwrap();
    close(&read.values.unwrap().to_vec().unwrap(), &values, 1e-5);
    let expected: Vec<f32> = (rows.chunks(VOCAB).zip([9, 2, 2, 9, 9]))
        .map(|(row, token)| row[token] - (row[2].exp() + row[9].exp()).ln())
        .collect();
    close(&read.log_probs.to_vec().unwrap(), &expected, 1e-5);
    let restricted = dist(&mut few, 1..2);
    assert!(restricted.iter().filter(|x| x.is_finite()).count() == 2);
    for (tokens, expected) in [
        (vec![], "no token"),
        (vec![1, 1], "twice"),
        (vec![13], "13 is not"),
    ] {
        let model = network(&config(), Backend::F32, OutputHeads::Language, 1.0);
        let error = Restricted::new(model, tokens).err().unwrap();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let unsaid = Sequences::new(prompt, vec![answer(&[9, 3])]).unwrap();
    let error = few
        .forward(&unsaid, OutputSpec::SCORE)
        .unwrap_err()
        .to_string();
    assert!(error.contains("token 3"), "{error}");
}

#[test]
fn outputs_are_of_one_distribution() {
    let s = sequences();
    for (backend, temperature) in BACKENDS
        .into_iter()
        .flat_map(|backend| [4.0, 0.5].map(|temperature| (backend, temperature)))
    {
        let mut model = network(&config(), backend, OutputHeads::Language, 1.0);
        model.forward(&s, OutputSpec::SCORE).unwrap();
        let plain = dist(&mut *model, 0..s.tokens());
        let mut model = network(&config(), backend, OutputHeads::Language, temperature);
        let outputs = model.forward(&s, OutputSpec::SCORE.with_entropy()).unwrap();
        assert!(outputs.values.is_none());
        let dist = dist(&mut *model, 0..s.tokens());
        // Logits are known up to a constant, which the normalization takes away.
        let scaled: Vec<f32> = plain.iter().map(|x| x / temperature as f32).collect();
        let tempered: Vec<f32> = scaled.chunks(VOCAB).flat_map(log_softmax).collect();
        close(&dist, &tempered, 1e-5);
        let targets = s.responses().iter().flat_map(|response| &response.ids);
        let taken = dist.chunks(VOCAB).zip(targets);
        let taken: Vec<f32> = taken.map(|(row, id)| row[*id as usize]).collect();
        close(&outputs.log_probs.to_vec().unwrap(), &taken, 1e-5);
        let entropy = |row: &[f32]| -row.iter().map(|x| x.exp() * x).sum::<f32>();
        let entropies: Vec<f32> = dist.chunks(VOCAB).map(entropy).collect();
        close(
            &outputs.entropy.unwrap().to_vec().unwrap(),
            &entropies,
            1e-5,
        );
    }
}

fn log_softmax(row: &[f32]) -> Vec<f32> {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = row.iter().map(|x| (x - max).exp()).sum();
    row.iter().map(|x| x - max - sum.ln()).collect()
}

/// A sampler's use of a decoder, rows entering and leaving, against reading what it made.
#[test]
fn decoding_scores_as_reading_does() {
    let histories: [&[u32]; 4] = [&[3, 1, 4, 7, 8], &[3, 1, 4, 2, 5], &[6, 2, 3], &[9, 9, 1]];
    for backend in BACKENDS {
        let mut model = network(&config(), backend, OutputHeads::LanguageAndValue, 2.0);
        let mut seen: Vec<(Vec<u32>, Vec<f32>)> = Vec::new();
        {
            let mut decoder = model.decoder().unwrap();
            let start = |prompt, samples| Start {
                prompt,
                samples,
                max_new_tokens: 3,
            };
            let mut look = |decoder: &dyn Decoder, live: &[&[u32]]| {
                assert_eq!(decoder.rows(), live.len());
                let rows = decoder.log_dist().unwrap().to_rows();
                assert_eq!(rows.concat().len(), live.len() * VOCAB);
                for (history, row) in live.iter().zip(rows) {
                    seen.push((history.to_vec(), row));
                }
            };
            decoder
                .start(&[start(&[3, 1, 4], 2), start(&[6], 1)])
                .unwrap();
            look(
                &*decoder,
                &[&histories[0][..3], &histories[1][..3], &histories[2][..1]],
            );
            decoder.step(&[7, 2, 2]).unwrap();
            look(
                &*decoder,
                &[&histories[0][..4], &histories[1][..4], &histories[2][..2]],
            );
            decoder.gather(&[1, 2]).unwrap();
            look(&*decoder, &[&histories[1][..4], &histories[2][..2]]);
            decoder.start(&[start(&[9], 1)]).unwrap();
            look(
                &*decoder,
                &[&histories[1][..4], &histories[2][..2], &histories[3][..1]],
            );
            decoder.step(&[5, 3, 9]).unwrap();
            look(&*decoder, &[histories[1], histories[2], &histories[3][..2]]);
            decoder.gather(&[2]).unwrap();
            decoder.step(&[1]).unwrap();
            look(&*decoder, &[histories[3]]);
            assert!(decoder.step(&[1, 2]).is_err());
            assert!(decoder.gather(&[1]).is_err());
            assert!(decoder.step(&[VOCAB as u32]).is_err());
        }
        for (history, scores) in seen {
            // Any next token will do: its row holds the whole distribution.
            let prompt = vec![Prompt::from_ids(history)];
            let next = Response::new(0, vec![0], Finish::Length);
            let s = Sequences::new(prompt, vec![next]).unwrap();
            model.forward(&s, OutputSpec::SCORE).unwrap();
            close(&scores, &dist(&mut *model, 0..1), 1e-4);
        }
        let mut decoder = model.decoder().unwrap();
        let long = Start {
            prompt: &[1, 2],
            samples: 1,
            max_new_tokens: 9,
        };
        let error = decoder.start(&[long]).unwrap_err().to_string();
        assert!(error.contains("context of 9"), "{error}");
    }
}

/// Each parameter's gradient along a random direction, against central differences of the outputs
/// weighted by their gradients; accumulated over two backward passes.
#[test]
fn gradients_are_slopes_and_none_is_dead() {
    let s = sequences();
    let n = s.tokens();
    for (backend, heads, few) in [
        (Backend::Plain, OutputHeads::LanguageAndValue, false),
        (Backend::Plain, OutputHeads::Value, false),
        (Backend::F32, OutputHeads::LanguageAndValue, false),
        (Backend::F32, OutputHeads::Value, false),
        (Backend::F32, OutputHeads::LanguageAndValue, true),
    ] {
        let mut model = network(&config(), backend, heads, 4.0);
        if few {
            let tokens = vec![5, 3, 8, 9, 7, 2, 4, 6];
            model = Box::new(Restricted::new(model, tokens).unwrap());
        }
        let mut rng = Rng::new(3, Stream::Data, 0, 0);
        let mut weights = || -> Vec<f32> { (0..n).map(|_| rng.normal() as f32).collect() };
        let language = heads == OutputHeads::LanguageAndValue;
        let gradients = OutputGrads {
            log_probs: language.then(&mut weights),
            entropy: language.then(&mut weights),
            values: Some(weights()),
            scores: None,
        };
        let spec = OutputSpec::TRAIN.with_entropy();
        let loss = |model: &mut dyn Model| -> f64 {
            let outputs = model.forward(&s, spec).unwrap();
            let weigh = |x: Vec<f32>, g: &Vec<f32>| -> f64 {
                let terms = x.iter().zip(g);
                terms.map(|(x, g)| f64::from(*x) * f64::from(*g)).sum()
            };
            let parts = [
                (Some(outputs.log_probs), &gradients.log_probs),
                (outputs.entropy, &gradients.entropy),
                (outputs.values, &gradients.values),
            ];
            let weighed = parts
                .into_iter()
                .filter_map(|(x, g)| Some(weigh(x?.to_vec().unwrap(), g.as_ref()?)));
            weighed.sum()
        };
        loss(&mut *model);
        model.backward(&gradients).unwrap();
        model.backward(&gradients).unwrap();
        for name in testing::names(&*model) {
            let gradient = testing::gradient(&*model, &name);
            assert!(gradient.iter().all(|x| x.is_finite()), "{name}");
            assert!(
                gradient.iter().any(|x| *x != 0.0),
                "{backend:?}: {name} is dead"
            );
            let before = testing::weights(&*model, &name);
            // Along the gradient, where the slope is its length.
            let length = gradient
                .iter()
                .map(|x| f64::from(*x).powi(2))
                .sum::<f64>()
                .sqrt();
            let step = 2e-2 / (before.len() as f64).sqrt();
            let mut at = |scale: f64| {
                let moved = before.iter().zip(&gradient);
                let moved: Vec<f32> = moved
                    .map(|(w, g)| w + (scale * step * f64::from(*g) / length) as f32)
                    .collect();
                testing::set(&mut *model, &name, &moved);
                loss(&mut *model)
            };
            // Five points: an error of the order of step⁴, so that rounding need not be fought.
            let slope = (8.0 * (at(1.0) - at(-1.0)) - (at(2.0) - at(-2.0))) / (12.0 * step);
            testing::set(&mut *model, &name, &before);
            let expected = length / 2.0;
            let off = (slope - expected).abs();
            assert!(
                off < 1e-2 * expected + 5e-3,
                "{backend:?} {heads:?} {name}: {slope}, expected {expected}"
            );
        }
    }
}

#[test]
fn what_cannot_be_answered_is_refused() {
    for backend in BACKENDS {
        let mut critic = network(&config(), backend, OutputHeads::Value, 1.0);
        assert!(critic.log_dist(0..1).is_err());
        assert!(critic.backward(&OutputGrads::default()).is_err());
        let outputs = critic.forward(&sequences(), OutputSpec::SCORE).unwrap();
        let zeros = vec![0.0; sequences().tokens()];
        assert_eq!(outputs.log_probs.to_vec().unwrap(), zeros);
        assert!(critic.log_dist(0..1).is_err());
        assert!(critic.decoder().is_err());
        assert!(critic.backward(&OutputGrads::default()).is_err());

        let mut config = config();
        config["vocab_size"] = json!(9);
        let mut small = network(&config, backend, OutputHeads::Language, 1.0);
        let error = small.forward(&sequences(), OutputSpec::SCORE).unwrap_err();
        assert!(error.to_string().contains("token id 9"), "{error}");
        config["vocab_size"] = json!(VOCAB);
        config["n_positions"] = json!(8);
        let mut short = network(&config, backend, OutputHeads::Language, 1.0);
        let error = short.forward(&sequences(), OutputSpec::SCORE).unwrap_err();
        assert!(error.to_string().contains("context of 8"), "{error}");
        assert!(short.log_dist(0..1).is_err());
    }
}

#[test]
fn a_row_can_be_continued_several_times() {
    for backend in BACKENDS {
        let mut model = network(&config(), backend, OutputHeads::Language, 1.0);
        let mut seen: Vec<(Vec<u32>, Vec<f32>)> = Vec::new();
        {
            let mut decoder = model.decoder().unwrap();
            let start = Start {
                prompt: &[3, 1],
                samples: 2,
                max_new_tokens: 4,
            };
            decoder.start(&[start]).unwrap();
            decoder.step(&[7, 2]).unwrap();
            // The second row three times and the first once, in another order.
            decoder.gather(&[1, 0, 1, 1]).unwrap();
            let rows = decoder.log_dist().unwrap().to_rows();
            assert!(rows[0] == rows[2] && rows[2] == rows[3] && rows[0] != rows[1]);
            decoder.step(&[4, 5, 6, 4]).unwrap();
            let rows = decoder.log_dist().unwrap().to_rows();
            assert_eq!(rows[0], rows[3]);
            let ends = [[2, 4], [7, 5], [2, 6], [2, 4]];
            seen.extend(
                ends.map(|end| [&[3, 1][..], &end].concat())
                    .into_iter()
                    .zip(rows),
            );
        }
        for (history, row) in seen {
            let prompt = vec![Prompt::from_ids(history)];
            let next = Response::new(0, vec![0], Finish::Length);
            let s = Sequences::new(prompt, vec![next]).unwrap();
            model.forward(&s, OutputSpec::SCORE).unwrap();
            close(&row, &dist(&mut *model, 0..1), 1e-4);
        }
    }
}
