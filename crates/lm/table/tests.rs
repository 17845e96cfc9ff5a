//! A table against its own definition.

use super::*;
use rlhf_objective::{Finish, Prompt, Response, Start};
use rlhf_tensor::{Init, Rng, Stream};

const SHAPE: TableConfig = TableConfig::prefixes(3, Some(2), 3);

fn random(config: TableConfig) -> Table {
    let mut table = Table::new(config, Storage::Trainable);
    for (index, name) in [LOGITS, VALUES].into_iter().enumerate() {
        let mut rng = Rng::new(9, Stream::Init, index as u64, 0);
        table
            .parameters
            .initialize(name, Init::Normal { std: 1.0 }, &mut rng);
    }
    table
}

fn sequences(responses: &[&[u32]]) -> Sequences {
    let answer = |ids: &&[u32]| Response::new(0, ids.to_vec(), Finish::Length);
    let answers = responses.iter().map(answer).collect();
    Sequences::new(vec![Prompt::from_ids(vec![1])], answers).unwrap()
}

#[test]
fn a_row_for_each_prefix_in_order() {
    // (), 0, 1, 00, 01, 10, 11.
    let table = Table::new(SHAPE, Storage::Frozen);
    assert_eq!(table.logits().len(), 7 * 3);
    let s = sequences(&[&[0, 1, 0], &[1, 1, 2], &[2], &[1, 2]]);
    let states: Vec<_> = table.walk(&s).unwrap().iter().map(|x| x.0).collect();
    assert_eq!(states, [0, 1, 4, 0, 2, 6, 0, 0, 2]);
    for bad in [&[2, 0][..], &[0, 0, 0, 0], &[3]] {
        assert!(table.walk(&sequences(&[bad])).is_err(), "{bad:?}");
    }
    let bigrams = TableConfig {
        states: States::LastToken,
        n_positions: 9,
        ..SHAPE
    };
    let table = Table::new(bigrams, Storage::Frozen);
    let states = table.walk(&sequences(&[&[2, 0, 0, 1]])).unwrap();
    assert_eq!(states, [(1, 2), (2, 0), (0, 0), (0, 1)]);
}

#[test]
fn what_is_never_said_stays_so() {
    let mut logits = vec![0.0; 21];
    logits[0] = f32::NEG_INFINITY;
    let mut table = Table::with_logits(SHAPE, &logits, Storage::Trainable).unwrap();
    let s = sequences(&[&[1, 2], &[2]]);
    let outputs = table.forward(&s, OutputSpec::TRAIN.with_entropy()).unwrap();
    let half = -std::f32::consts::LN_2;
    assert_eq!(outputs.log_probs.to_vec().unwrap()[0], half);
    assert!((outputs.entropy.unwrap().to_vec().unwrap()[0] + half).abs() < 1e-7);
    let gradients = OutputGrads {
        log_probs: Some(vec![1.0; 3]),
        entropy: Some(vec![1.0; 3]),
        ..OutputGrads::default()
    };
    table.backward(&gradients).unwrap();
    let id = table.parameters.id(LOGITS).unwrap();
    let of = table.parameters.gradient(id).unwrap();
    assert!(of.iter().all(|x| x.is_finite()) && of[0] == 0.0, "{of:?}");
    table.parameters.adamw_step(&Default::default(), 0.1, 1.0);
    assert_eq!(table.row(0)[0], f32::NEG_INFINITY);
}

/// The gradient against central differences of Σ w·(log-prob, entropy, value).
#[test]
fn gradients_are_slopes() {
    let s = sequences(&[&[0, 1, 0], &[1, 1, 2], &[2], &[0, 2]]);
    let weights = |k: usize| (0..9).map(|t| ((t * 7 + k) % 5) as f32 - 1.7).collect();
    let [a, b, c]: [Vec<f32>; 3] = [weights(0), weights(1), weights(2)];
    let loss = |table: &mut Table| -> f64 {
        let outputs = table.forward(&s, OutputSpec::TRAIN.with_entropy()).unwrap();
        let parts = [Some(outputs.log_probs), outputs.entropy, outputs.values];
        let dot = |(part, w): (Option<rlhf_objective::PerToken>, &Vec<f32>)| -> f64 {
            let numbers = part.unwrap().to_vec().unwrap();
            let pairs = numbers.iter().zip(w);
            pairs.map(|(x, w)| f64::from(*x) * f64::from(*w)).sum()
        };
        parts.into_iter().zip([&a, &b, &c]).map(dot).sum()
    };
    let mut table = random(SHAPE);
    loss(&mut table);
    let gradients = OutputGrads {
        log_probs: Some(a.clone()),
        entropy: Some(b.clone()),
        values: Some(c.clone()),
        ..OutputGrads::default()
    };
    table.backward(&gradients).unwrap();
    for id in table.parameters.ids() {
        let gradient = table.parameters.gradient(id).unwrap().to_vec();
        for (i, gradient) in gradient.into_iter().enumerate() {
            let mut at = |step: f32| {
                table.parameters.weights_mut(id)[i] += step;
                let loss = loss(&mut table);
                table.parameters.weights_mut(id)[i] -= step;
                loss
            };
            let slope = (at(1e-2) - at(-1e-2)) / 2e-2;
            assert!(
                (slope - f64::from(gradient)).abs() < 2e-3,
                "{slope} {gradient}"
            );
        }
    }
}

#[test]
fn a_saved_table_is_read_back_and_decodes_as_it_reads() {
    let folder = tempfile::tempdir().unwrap();
    let mut saved = random(SHAPE);
    let logits = saved.parameters.id(LOGITS).unwrap();
    saved.parameters.weights_mut(logits)[5] = f32::NEG_INFINITY;
    saved.save(folder.path()).unwrap();
    let mut table = Table::load(folder.path(), Storage::Trainable).unwrap();
    let checksum = |table: &Table| table.parameters.checksum();
    assert_eq!(checksum(&table), checksum(&saved));
    assert_eq!((table.eos(), table.context()), (Some(2), 3));
    let s = sequences(&[&[0, 1, 0], &[1, 1, 2]]);
    table.forward(&s, OutputSpec::SCORE).unwrap();
    let read = |table: &mut Table, row: usize| -> Vec<f32> {
        table.log_dist(row..row + 1).unwrap().to_vec()
    };
    let expected: Vec<Vec<f32>> = (0..6).map(|row| read(&mut table, row)).collect();
    assert!(table.log_dist(5..7).is_err());
    let mut decoder = table.decoder().unwrap();
    let start = Start {
        prompt: &[1],
        samples: 2,
        max_new_tokens: 3,
    };
    decoder.start(&[start]).unwrap();
    let rows = |decoder: &dyn Decoder| decoder.log_dist().unwrap().to_vec();
    assert_eq!(rows(&*decoder), [&expected[0][..], &expected[3]].concat());
    decoder.step(&[0, 1]).unwrap();
    assert_eq!(rows(&*decoder), [&expected[1][..], &expected[4]].concat());
    decoder.gather(&[1]).unwrap();
    decoder.step(&[1]).unwrap();
    assert_eq!(rows(&*decoder), expected[5]);
    assert!(decoder.step(&[2]).is_err() && decoder.step(&[]).is_err());
}
