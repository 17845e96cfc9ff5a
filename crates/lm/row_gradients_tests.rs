//! Losses over the whole vocabulary, through row operations alone.

use crate::{
    ActivationCheckpointing, Backend, LoadOptions, Model, OutputHeads, OutputVocabulary,
    Restricted, init, load, testing,
};
use rlhf_objective::{
    Finish, Network, OutputGrads, OutputSpec, Prompt, Response, RowGradients, Sequences,
};
use rlhf_tensor::Storage;
use serde_json::json;

const VOCAB: usize = 13;

fn network(backend: Backend, temperature: f64, seed: u64) -> Box<dyn Model> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.json");
    let config = json!({"model_type": "gpt2", "vocab_size": VOCAB, "n_positions": 9, "n_embd": 10,
        "n_head": 2, "n_layer": 2});
    std::fs::write(&path, config.to_string()).unwrap();
    init(&path, 1, folder.path()).unwrap();
    let options = LoadOptions {
        storage: Storage::Trainable,
        activation_checkpointing: ActivationCheckpointing::None,
        heads: OutputHeads::LanguageAndValue,
        vocabulary: OutputVocabulary::Whole,
        temperature,
        backend,
    };
    let mut model = load(folder.path(), &options).unwrap();
    testing::randomize(&mut *model, seed);
    model
}

fn sequences() -> Sequences {
    let prompts = [&[3, 1, 4][..], &[1]];
    let answers = [(0, &[5, 3, 5, 8][..]), (1, &[7, 9]), (0, &[6, 4, 5])];
    let prompts = prompts.iter().map(|ids| Prompt::from_ids(ids.to_vec()));
    let answers = answers.map(|(p, ids)| Response::new(p, ids.to_vec(), Finish::Length));
    Sequences::new(prompts.collect(), answers.to_vec()).unwrap()
}

/// Numbers that differ from row to row.
fn weights(n: usize) -> Vec<f32> {
    (0..n).map(|i| (i as f32 * 1.3).cos()).collect()
}

/// Σ w·E_π[tilt] against a prior and a critic, of some rows, and its gradient for the policy.
fn actor_loss(
    policy: &mut dyn Network,
    prior: &mut dyn Network,
    critic: &mut dyn Network,
    rows: std::ops::Range<usize>,
    n: usize,
) -> (f64, RowGradients) {
    let w = &weights(n)[rows.clone()];
    let (policy, prior) = (policy.log_dist(rows.clone()), prior.log_dist(rows.clone()));
    let q = critic.action_values(rows).unwrap();
    let tilt = q
        .expected_tilt(&policy.unwrap(), &prior.unwrap(), 0.3)
        .unwrap();
    let value = tilt
        .values
        .iter()
        .zip(w)
        .map(|(x, w)| f64::from(x * w))
        .sum();
    (value, tilt.gradient(w).unwrap())
}

/// All gradients of a loss on rows and on outputs together, the rows in two ranges.
fn gradients(policy: &mut dyn Model, backend: Backend) -> Vec<Vec<f32>> {
    let s = sequences();
    let n = s.tokens();
    let (mut prior, mut critic) = (network(backend, 1.0, 5), network(backend, 1.0, 6));
    prior.forward(&s, OutputSpec::SCORE).unwrap();
    critic.forward(&s, OutputSpec::SCORE).unwrap();
    policy.forward(&s, OutputSpec::TRAIN).unwrap();
    for rows in [0..4, 4..n] {
        let (_, gradient) = actor_loss(policy, &mut *prior, &mut *critic, rows.clone(), n);
        policy.backward_rows(rows, &gradient).unwrap();
    }
    let outputs = OutputGrads {
        log_probs: Some(weights(n)),
        values: Some(weights(n)),
        ..OutputGrads::default()
    };
    policy.backward(&outputs).unwrap();
    let names = testing::names(policy);
    let gradient = |name: &String| testing::gradient(policy, name);
    names.iter().map(gradient).collect()
}

#[test]
fn the_engine_takes_whole_rows_as_the_plain_network_does() {
    for temperature in [1.0, 2.0] {
        let of = |backend| gradients(&mut *network(backend, temperature, 4), backend);
        let (engine, plain) = (of(Backend::F32), of(Backend::Plain));
        let mut moved = 0;
        for (engine, plain) in engine.iter().zip(&plain) {
            for (a, b) in engine.iter().zip(plain) {
                assert!((a - b).abs() < 1e-4 * (1.0 + b.abs()), "{a} {b}");
                moved += usize::from(*b != 0.0);
            }
        }
        assert!(moved > 1000, "{moved}");
    }
}

#[test]
fn rows_alone_are_slopes() {
    let s = sequences();
    let n = s.tokens();
    let allowed = vec![8, 3, 5, 7, 9, 6, 4];
    let whole = || network(Backend::F32, 1.5, 4);
    let few = || -> Box<dyn Model> { Box::new(Restricted::new(whole(), allowed.clone()).unwrap()) };
    for mut policy in [whole(), few()] {
        let (mut prior, mut critic) =
            (network(Backend::F32, 1.0, 5), network(Backend::F32, 1.0, 6));
        prior.forward(&s, OutputSpec::SCORE).unwrap();
        critic.forward(&s, OutputSpec::SCORE).unwrap();
        let mut loss = |policy: &mut dyn Network| {
            policy.forward(&s, OutputSpec::TRAIN).unwrap();
            actor_loss(policy, &mut *prior, &mut *critic, 0..n, n)
        };
        let (_, gradient) = loss(&mut *policy);
        policy.backward_rows(0..n, &gradient).unwrap();
        policy.backward(&OutputGrads::default()).unwrap();
        for name in testing::names(&*policy) {
            let gradient = testing::gradient(&*policy, &name);
            let most = gradient.iter().copied().enumerate();
            let most = most.max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()));
            let (i, got) = most.unwrap();
            let mut at = |step: f32| {
                testing::nudge(&mut *policy, &name, i, step);
                let value = loss(&mut *policy).0;
                testing::nudge(&mut *policy, &name, i, -step);
                value
            };
            let slope = (at(1e-2) - at(-1e-2)) / 2e-2;
            assert!(
                (slope - f64::from(got)).abs() < 3e-3 * (1.0 + slope.abs()),
                "{slope} {got}"
            );
        }
    }
}

#[test]
fn rows_that_do_not_fit_are_refused() {
    let mut policy = network(Backend::F32, 1.0, 4);
    let row = RowGradients::new(vec![0.0; VOCAB], VOCAB).unwrap();
    assert!(
        policy.backward_rows(0..1, &row).is_err(),
        "nothing was read"
    );
    policy.forward(&sequences(), OutputSpec::SCORE).unwrap();
    assert!(policy.backward_rows(0..1, &row).is_err(), "read to score");
    policy.forward(&sequences(), OutputSpec::TRAIN).unwrap();
    assert!(policy.backward_rows(0..2, &row).is_err());
    assert!(policy.backward_rows(90..91, &row).is_err());
    let narrow = RowGradients::new(vec![0.0; 2], 2).unwrap();
    assert!(policy.backward_rows(0..1, &narrow).is_err());
    assert!(policy.action_values(0..99).is_err());
    policy.backward_rows(0..1, &row).unwrap();
}
