//! What is measured of each rollout, under the names that TRL uses where the meaning is the same.

use crate::Result;
use crate::run::Metrics;
use rlhf_journal::Journal;
use rlhf_objective::{Finish, PerToken, Response, Scored};
use serde::Serialize;
use std::sync::Arc;

/// The numbers of a rollout: KL in nats per sequence, exact over the vocabulary
/// (`objective/kl`) and as the mean of log(π/p₀) (`objective/kl_k1`); entropy in nats per sequence;
/// scores and `objective/rlhf_reward` = E\[r\] − β·KL in units of the reward.
pub(crate) fn measure(scored: &Scored) -> Result<Metrics> {
    let rollouts = &scored.rollouts;
    let kl = moments(&sums(&rollouts.kl)?);
    let scores: Vec<f64> = scored.scores.to_vec()?.into_iter().map(f64::from).collect();
    let scores = moments(&scores);
    let mean = |of: &PerToken| -> Result<f64> { Ok(moments(&sums(of)?).mean) };
    let k1 = mean(&rollouts.log_probs)? - mean(&rollouts.prior_log_probs)?;
    let sequences = &rollouts.sequences;
    let ended = |finish| {
        sequences
            .responses()
            .iter()
            .filter(|r| r.finish == finish)
            .count()
    };
    let gap = gap(&rollouts.sampled_log_probs, &rollouts.log_probs)?;
    Ok(Metrics::from([
        ("objective/kl", kl.mean),
        ("objective/kl_se", kl.standard_error),
        ("objective/kl_k1", k1),
        ("objective/entropy", mean(&rollouts.entropy)?),
        ("objective/scores", scores.mean),
        ("objective/scores_se", scores.standard_error),
        ("objective/non_score_reward", -scored.beta * k1),
        ("objective/rlhf_reward", scores.mean - scored.beta * kl.mean),
        ("objective/beta", scored.beta),
        ("val/num_eos_tokens", ended(Finish::Eos) as f64),
        (
            "completions/mean_length",
            sequences.tokens() as f64 / sequences.len() as f64,
        ),
        ("sampling/log_prob_gap", gap),
    ]))
}

/// The share of responses that end at their greatest length.
pub(crate) fn cut_off(scored: &Scored) -> f64 {
    let responses = scored.rollouts.sequences.responses();
    let cut = responses.iter().filter(|r| r.finish == Finish::Length);
    cut.count() as f64 / responses.len() as f64
}

/// The share of responses that end because prompt and response fill the context, before the greatest
/// length that was asked for.
pub(crate) fn out_of_context(scored: &Scored, max_new_tokens: usize) -> f64 {
    let responses = scored.rollouts.sequences.responses();
    let full = |r: &&Arc<Response>| r.finish == Finish::Length && r.ids.len() < max_new_tokens;
    responses.iter().filter(full).count() as f64 / responses.len() as f64
}

/// A line of `samples.jsonl`.
#[derive(Serialize)]
struct Sample<'a> {
    step: usize,
    prompt: &'a str,
    response: &'a str,
    finish: Finish,
    tokens: usize,
    score: f32,
    /// Nats.
    kl: f64,
}

/// Writes the first `count` responses to the journal.
pub(crate) fn log_samples(
    journal: &mut Journal,
    step: usize,
    scored: &Scored,
    count: usize,
) -> Result<()> {
    let sequences = &scored.rollouts.sequences;
    let (scores, kl) = (scored.scores.to_vec()?, sums(&scored.rollouts.kl)?);
    for (index, response) in sequences.responses().iter().enumerate().take(count) {
        journal.sample(&Sample {
            step,
            prompt: &sequences.prompt_of(index).text,
            response: &response.text,
            finish: response.finish,
            tokens: response.ids.len(),
            score: scores[index],
            kl: kl[index],
        })?;
    }
    Ok(())
}

struct Moments {
    mean: f64,
    /// Of the mean; 0 where one number cannot tell.
    standard_error: f64,
}

fn moments(numbers: &[f64]) -> Moments {
    let n = numbers.len() as f64;
    let mean = numbers.iter().sum::<f64>() / n;
    let squares: f64 = numbers.iter().map(|x| (x - mean).powi(2)).sum();
    let standard_error = if n > 1.0 {
        (squares / (n - 1.0) / n).sqrt()
    } else {
        0.0
    };
    Moments {
        mean,
        standard_error,
    }
}

/// The sum over each response, in f64.
fn sums(of: &PerToken) -> Result<Vec<f64>> {
    let values = of.to_vec()?;
    let sum = |i| values[of.range(i)].iter().map(|&x| f64::from(x)).sum();
    Ok((0..of.sequences()).map(sum).collect())
}

/// The greatest difference between two log-probs of one token.
fn gap(recorded: &PerToken, read: &PerToken) -> Result<f64> {
    let pairs = recorded.to_vec()?.into_iter().zip(read.to_vec()?);
    Ok(pairs.fold(0.0, |most, (a, b)| f64::max(most, f64::from((a - b).abs()))))
}
