//! Scored rollouts for tests.

use rlhf_objective::{
    Beta, Decoder, Error, Finish, KlPenalty, LogDist, PerSeq, PerToken, Prior, Prompt, Response,
    Result, Rollouts, Scored, Sequences, tilt,
};
use rlhf_tensor::{Rng, Stream};
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

pub(crate) fn penalty() -> KlPenalty {
    KlPenalty::new(Box::new(UnusedPrior), Beta::Fixed(0.05))
}

pub(crate) fn rng() -> Rng {
    Rng::new(1, Stream::Minibatch, 0, 0)
}

/// Rollouts of responses given as (prompt, tokens), with their rewards: `scores` per response, and log π
/// and log p₀ of each token, nats.
pub(crate) fn scored_rollouts(
    responses: &[(usize, Vec<u32>)],
    scores: Vec<f32>,
    [log_probs, prior_log_probs]: [Vec<f32>; 2],
    beta: f64,
) -> Scored {
    let prompts = responses
        .iter()
        .map(|(prompt, _)| prompt + 1)
        .max()
        .unwrap_or(0);
    let response =
        |(prompt, ids): &(usize, Vec<u32>)| Response::new(*prompt, ids.clone(), Finish::Eos);
    let sequences = Sequences::new(
        vec![Prompt::from_ids(vec![0]); prompts],
        responses.iter().map(response).collect(),
    )
    .unwrap();
    let per_token = |values| PerToken::from_vec(values, sequences.offsets()).unwrap();
    let (log_probs, prior_log_probs) = (per_token(log_probs), per_token(prior_log_probs));
    let penalty = tilt(log_probs.values(), prior_log_probs.values(), beta).unwrap();
    let mut rewards = penalty.neg().unwrap().to_vec1::<f32>().unwrap();
    for (y, score) in scores.iter().enumerate() {
        rewards[log_probs.range(y).end - 1] += score;
    }
    Scored {
        scores: PerSeq::from_vec(scores).unwrap(),
        rewards: per_token(rewards),
        beta,
        rollouts: Rollouts {
            values: None,
            entropy: log_probs.clone(),
            kl: log_probs.clone(),
            sampled_log_probs: log_probs.clone(),
            prior_log_probs,
            log_probs,
            sequences,
        },
    }
}

/// Rollouts with these response lengths, by prompt, and varied numbers.
pub(crate) fn scored_with_lengths(lengths: &[&[usize]]) -> Scored {
    let group = |(prompt, lengths): (usize, &&[usize])| -> Vec<(usize, Vec<u32>)> {
        lengths
            .iter()
            .map(|&length| (prompt, vec![1; length]))
            .collect()
    };
    let responses: Vec<_> = lengths.iter().enumerate().flat_map(group).collect();
    let tokens: usize = responses.iter().map(|(_, ids)| ids.len()).sum();
    let wave = |step: usize| {
        (0..tokens)
            .map(|i| -0.1 - ((i * step) % 11) as f32 * 0.3)
            .collect()
    };
    let scores = (0..responses.len()).map(|i| (i % 3) as f32 - 0.8).collect();
    scored_rollouts(&responses, scores, [wave(3), wave(5)], 0.05)
}
