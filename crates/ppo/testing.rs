//! Scored rollouts for tests.

use rlhf_objective::{
    Beta, Decoder, Error, Finish, KlPenalty, LogDist, Objective, PerSeq, PerToken, Prior, Prompt,
    Response, Result, Reward, Rollouts, Scored, Sequences,
};
use std::ops::Range;

/// A prior whose methods must not be called.
struct UnusedPrior;

impl Prior for UnusedPrior {
    fn log_probs(&mut self, _: &Sequences) -> Result<PerToken> {
        Err(Error::Unsupported("not called in this test".into()))
    }

    fn log_dist(&mut self, _: &Sequences, _: Range<usize>) -> Result<LogDist<'_>> {
        Err(Error::Unsupported("not called in this test".into()))
    }

    fn is_normalized(&self) -> bool {
        false
    }

    fn decoder(&mut self) -> Result<Box<dyn Decoder + '_>> {
        Err(Error::Unsupported("not called in this test".into()))
    }
}

/// A reward that returns fixed scores.
struct FixedScores(Vec<f32>);

impl Reward for FixedScores {
    fn score(&mut self, _: &Sequences) -> Result<PerSeq> {
        PerSeq::from_vec(self.0.clone())
    }
}

pub(crate) fn penalty() -> KlPenalty {
    KlPenalty::new(Box::new(UnusedPrior), Beta::Fixed(0.05))
}

/// Rollouts of these responses to one prompt, with their rewards: `scores` per response, and `per_token`
/// log π, log p₀ (nats) and values.
pub(crate) fn scored_rollouts(
    responses: &[Vec<u32>],
    scores: Vec<f32>,
    per_token: [Vec<f32>; 3],
    beta: f64,
) -> Scored {
    let response = |ids: &Vec<u32>| Response::new(0, ids.clone(), Finish::Eos);
    let prompt = Prompt::from_ids(vec![0]);
    let responses = responses.iter().map(response).collect();
    let sequences = Sequences::new(vec![prompt], responses).unwrap();
    let [log_probs, prior_log_probs, values] =
        per_token.map(|numbers| PerToken::from_vec(numbers, sequences.offsets()).unwrap());
    let penalty = KlPenalty::new(Box::new(UnusedPrior), Beta::Fixed(beta));
    let mut objective = Objective::new(Box::new(FixedScores(scores)), penalty);
    let rollouts = Rollouts {
        values: Some(values),
        entropy: log_probs.clone(),
        kl: log_probs.clone(),
        sampled_log_probs: log_probs.clone(),
        prior_log_probs,
        log_probs,
        sequences,
    };
    objective.rewards(rollouts).unwrap()
}

/// Rollouts with these response lengths and varied numbers.
pub(crate) fn scored_with_lengths(lengths: &[usize]) -> Scored {
    let tokens: usize = lengths.iter().sum();
    let wave = |step: usize, scale: f32| -> Vec<f32> {
        let at = |i| ((i * step) % 11) as f32 * scale;
        (0..tokens).map(at).collect()
    };
    let negative = |numbers: Vec<f32>| numbers.iter().map(|x| -0.1 - x).collect();
    let responses: Vec<Vec<u32>> = lengths.iter().map(|&n| vec![1; n]).collect();
    let scores = (0..lengths.len()).map(|i| (i % 3) as f32 - 0.8).collect();
    let per_token = [
        negative(wave(3, 0.3)),
        negative(wave(5, 0.25)),
        wave(7, 0.1),
    ];
    scored_rollouts(&responses, scores, per_token, 0.05)
}
