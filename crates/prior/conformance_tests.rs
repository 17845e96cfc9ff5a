//! Conformance checks of every prior, and of an objective with each of them.

use crate::{Counting, Frozen, Mixture, Smoothed, Uniform};
use rlhf_objective::conformance::{self, Affine, Measure};
use rlhf_objective::{
    Adaptive, Beta, KlPenalty, Objective, PerSeq, Prior, Result, Reward, Sequences, Start, Target,
};
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

/// Every prior that can be sampled from.
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

fn counting() -> Box<dyn Prior> {
    Box::new(Counting::new(VOCAB))
}

#[test]
fn every_prior_passes_the_conformance_checks() {
    for s in [sequences(), conformance::batch(VOCAB as u32)] {
        for mut prior in distributions() {
            conformance::prior(&mut *prior, &s, Measure::Drawable).unwrap();
        }
        assert!(!counting().is_normalized());
        let smoothed = Smoothed::new(counting(), VOCAB, 0.01).unwrap();
        assert!(!smoothed.is_normalized());
        let mixed = Mixture::geometric_per_token(counting(), frozen(1), 0.5).unwrap();
        conformance::prior(&mut { mixed }, &s, Measure::Distribution).unwrap();
        let mixed = Mixture::arithmetic_over_sequences(counting(), frozen(1), 0.5).unwrap();
        conformance::prior(&mut { mixed }, &s, Measure::Distribution).unwrap();
        conformance::prior(&mut *counting(), &s, Measure::Weights).unwrap();
        let error = conformance::prior(&mut *counting(), &s, Measure::Distribution).unwrap_err();
        assert!(error.to_string().contains("sum to 1"), "{error}");
    }
}

/// β has a target KL if the prior is a distribution, and a target entropy if it is not.
#[test]
fn the_target_of_beta_must_match_the_prior() {
    let check = |prior, target| {
        let beta = Beta::Adaptive(Adaptive::new(0.1, target, 1e4));
        KlPenalty::new(prior, beta).check()
    };
    for prior in distributions() {
        check(prior, Target::Kl(6.0)).unwrap();
    }
    check(counting(), Target::Entropy(6.0)).unwrap();
    let error = |prior, target| check(prior, target).unwrap_err().to_string();
    let message = error(counting(), Target::Kl(6.0));
    assert!(message.contains("Set beta.target_entropy"), "{message}");
    let message = error(uniform(), Target::Entropy(6.0));
    assert!(message.contains("Set beta.target_kl"), "{message}");
    KlPenalty::new(counting(), Beta::Fixed(0.1))
        .check()
        .unwrap();
}

/// The length of a response as its reward.
struct Length;

impl Reward for Length {
    fn score(&mut self, sequences: &Sequences) -> Result<PerSeq> {
        let lengths = sequences.responses().iter().map(|y| y.ids.len() as f32);
        PerSeq::from_vec(lengths.collect())
    }
}

#[test]
fn an_objective_with_any_prior_depends_on_the_reward_over_beta_alone() {
    let kinds = distributions().len();
    for kind in 0..=kinds {
        let prior = || {
            distributions()
                .into_iter()
                .nth(kind)
                .unwrap_or_else(counting)
        };
        let penalty = |beta| KlPenalty::new(prior(), Beta::Fixed(beta));
        let mut policy = Bigram::random(VOCAB, Storage::Frozen, 7);
        let rollouts = conformance::rollouts(&mut policy, &mut penalty(0.3), &sequences()).unwrap();
        let make = |scale: f64, shift| {
            let reward = Affine {
                reward: Length,
                scale,
                shift,
            };
            Objective::new(Box::new(reward), penalty(0.3 * scale))
        };
        conformance::objective(make, &rollouts).unwrap();
        // Without scaling β the check must fail.
        let broken = |scale: f64, shift| {
            let reward = Affine {
                reward: Length,
                scale,
                shift,
            };
            Objective::new(Box::new(reward), penalty(0.3))
        };
        assert!(conformance::objective(broken, &rollouts).is_err());
    }
}

#[test]
fn a_decoder_duplicates_rows() {
    for mut prior in distributions() {
        let continued = |prior: &mut dyn Prior, branches: bool| -> Vec<Vec<f32>> {
            let mut decoder = prior.decoder().unwrap();
            let start = Start {
                prompt: &[1, 2],
                samples: if branches { 2 } else { 3 },
                max_new_tokens: 4,
            };
            decoder.start(&[start]).unwrap();
            if branches {
                decoder.step(&[3, 4]).unwrap();
                decoder.gather(&[1, 0, 1]).unwrap();
            } else {
                decoder.step(&[4, 3, 4]).unwrap();
            }
            decoder.step(&[2, 2, 0]).unwrap();
            decoder.log_dist().unwrap().to_rows()
        };
        assert_eq!(continued(&mut *prior, true), continued(&mut *prior, false));
    }
}

#[test]
fn decoders_return_errors_for_wrong_rows() {
    for mut prior in distributions() {
        let mut decoder = prior.decoder().unwrap();
        let start = Start {
            prompt: &[1, 2],
            samples: 2,
            max_new_tokens: 4,
        };
        decoder.start(&[start]).unwrap();
        assert!(decoder.step(&[0; 9]).is_err() && decoder.gather(&[9]).is_err());
    }
}
