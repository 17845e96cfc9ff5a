//! What must hold of every prior, and of every one that is a distribution.

use crate::{Counting, Frozen, Mixture, Smoothed, Uniform};
use rlhf_objective::{Decoder, Finish, Prior, Prompt, Response, Sequences, Start};
use rlhf_policy::testing::{Bigram, sequences};
use rlhf_tensor::Storage;

const VOCAB: usize = 5;

fn frozen(seed: u64) -> Box<dyn Prior> {
    let network = Bigram::random(VOCAB, Storage::Frozen, seed);
    Box::new(Frozen::new(Box::new(network)).unwrap())
}

fn uniform() -> Box<dyn Prior> {
    Box::new(Uniform::new(VOCAB))
}

/// Every prior that can be drawn from.
fn distributions() -> Vec<Box<dyn Prior>> {
    let geometric = |weight| Mixture::geometric_per_token(frozen(1), frozen(2), weight).unwrap();
    let arithmetic =
        |weight| Mixture::arithmetic_over_sequences(frozen(1), frozen(2), weight).unwrap();
    let nested =
        Mixture::arithmetic_over_sequences(uniform(), Box::new(geometric(0.5)), 0.1).unwrap();
    vec![
        frozen(1),
        uniform(),
        Box::new(geometric(0.3)),
        Box::new(arithmetic(0.7)),
        Box::new(nested),
        Box::new(Smoothed::new(frozen(3), VOCAB, 0.01).unwrap()),
    ]
}

/// All rows of a batch, asked for in two ranges.
fn rows(prior: &mut dyn Prior, sequences: &Sequences) -> Vec<Vec<f32>> {
    let tokens = sequences.tokens();
    let ranges = [0..tokens / 3, tokens / 3..tokens];
    ranges
        .into_iter()
        .flat_map(|range| {
            prior
                .log_dist(sequences, range)
                .unwrap()
                .to_vec2::<f32>()
                .unwrap()
        })
        .collect()
}

#[test]
fn log_probs_are_those_of_the_tokens_taken() {
    let s = sequences();
    let mut all = distributions();
    all.push(Box::new(Counting::new(VOCAB)));
    for mut prior in all {
        let log_probs = prior.log_probs(&s).unwrap();
        assert_eq!(log_probs.offsets(), s.offsets());
        let tokens = s.responses().iter().flat_map(|y| y.ids.clone());
        let taken: Vec<f32> = rows(&mut *prior, &s)
            .iter()
            .zip(tokens)
            .map(|(row, token)| row[token as usize])
            .collect();
        assert_eq!(log_probs.to_vec().unwrap(), taken);
        assert!(taken.iter().all(|x| x.is_finite() && *x <= 0.0));
        // Asked again, and after another batch, it says the same.
        prior.log_probs(&s.select(&[1])).unwrap();
        assert_eq!(prior.log_probs(&s).unwrap().to_vec().unwrap(), taken);
    }
}

#[test]
fn rows_are_distributions_and_detached() {
    let s = sequences();
    for mut prior in distributions() {
        for row in rows(&mut *prior, &s) {
            let total: f64 = row.iter().map(|x| f64::from(*x).exp()).sum();
            assert!((total - 1.0).abs() < 1e-6, "{total}");
        }
        let log_probs = prior.log_probs(&s).unwrap();
        let gradients = log_probs.values().sum_all().unwrap().backward().unwrap();
        assert!(gradients.get(log_probs.values()).is_none());
    }
}

/// The log-distribution of each live row.
fn scores(decoder: &dyn Decoder) -> Vec<Vec<f64>> {
    let normalized = |row: &[f32]| {
        let sum: f64 = row.iter().map(|x| f64::from(*x).exp()).sum();
        row.iter().map(|x| f64::from(*x) - sum.ln()).collect()
    };
    decoder.scores().chunks(VOCAB).map(normalized).collect()
}

/// What the decoder says along a path is what the prior says of the finished response.
#[test]
fn decoders_say_what_the_priors_do() {
    let paths: [&[u32]; 3] = [&[3, 4, 1, 2], &[2], &[4, 4, 1]];
    let prompts = [Prompt::from_ids(vec![1, 2]), Prompt::from_ids(vec![3])];
    let response = |(i, ids): (usize, &&[u32])| Response::new(i / 2, ids.to_vec(), Finish::Length);
    let responses = paths.iter().enumerate().map(response).collect();
    let s = Sequences::new(prompts.to_vec(), responses).unwrap();
    for mut prior in distributions() {
        let expected = rows(&mut *prior, &s);
        let mut decoder = prior.decoder().unwrap();
        let start = |prompt: &'static [u32], samples| Start {
            prompt,
            samples,
            max_new_tokens: 4,
        };
        decoder.start(&[start(&[1, 2], 2)]).unwrap();
        decoder.start(&[start(&[3], 1)]).unwrap();
        let mut live: Vec<usize> = (0..paths.len()).collect();
        for t in 0.. {
            assert_eq!((decoder.rows(), decoder.vocab()), (live.len(), VOCAB));
            for (row, &path) in scores(&*decoder).iter().zip(&live) {
                let exact = &expected[s.offsets()[path] + t];
                for (x, y) in row.iter().zip(exact) {
                    assert!((x - f64::from(*y)).abs() < 1e-5, "{row:?} is not {exact:?}");
                }
            }
            let goes_on = |&path: &usize| paths[path].len() > t + 1;
            let keep: Vec<bool> = live.iter().map(goes_on).collect();
            decoder.retain(&keep).unwrap();
            live.retain(goes_on);
            if live.is_empty() {
                break;
            }
            let next: Vec<u32> = live.iter().map(|&path| paths[path][t]).collect();
            assert!(decoder.step(&[0; 9]).is_err() && decoder.retain(&[true; 9]).is_err());
            decoder.step(&next).unwrap();
        }
    }
}
