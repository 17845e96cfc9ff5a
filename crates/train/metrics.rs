//! The metrics of each rollout, with TRL's names where the meaning is the same.

use crate::Result;
use crate::run::Metrics;
use rlhf_journal::Journal;
use rlhf_objective::{Finish, PerToken, Response, Rollouts};
use serde::Serialize;
use std::sync::Arc;

/// The metrics of a rollout at this β: KL in nats per sequence, exact over the vocabulary
/// (`objective/kl`) and as the mean of log(π/p₀) (`objective/kl_k1`); entropy in nats per sequence; scores
/// and `objective/rlhf_reward` = E\[r\] − β·KL in units of the reward. The scores are those of the responses
/// that have one, everything else is over all responses. `objective/no_opinion` is the number of responses
/// without a score, if there are any.
pub(crate) fn measure(rollouts: &Rollouts, scores: &[Option<f32>], beta: f64) -> Result<Metrics> {
    let kl = moments(&sums(&rollouts.kl)?);
    let responses = scores.len();
    let scores: Vec<f64> = scores.iter().flatten().map(|x| f64::from(*x)).collect();
    let none = responses - scores.len();
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
    let gap = max_gap(&rollouts.sampled_log_probs, &rollouts.log_probs)?;
    let mut metrics = Metrics::from([
        ("objective/kl", kl.mean),
        ("objective/kl_se", kl.standard_error),
        ("objective/kl_k1", k1),
        ("objective/entropy", mean(&rollouts.entropy)?),
        ("objective/non_score_reward", -beta * k1),
        ("objective/beta", beta),
        ("val/num_eos_tokens", ended(Finish::Eos) as f64),
        (
            "completions/mean_length",
            sequences.tokens() as f64 / sequences.len() as f64,
        ),
        ("sampling/log_prob_gap", gap),
    ]);
    if !scores.is_empty() {
        let scores = moments(&scores);
        metrics.extend([
            ("objective/scores", scores.mean),
            ("objective/scores_se", scores.standard_error),
            ("objective/rlhf_reward", scores.mean - beta * kl.mean),
        ]);
    }
    if none > 0 {
        metrics.insert("objective/no_opinion", none as f64);
    }
    Ok(metrics)
}

/// The fraction of responses that end at their maximum length.
pub(crate) fn fraction_cut_off(rollouts: &Rollouts) -> f64 {
    let responses = rollouts.sequences.responses();
    let cut = responses.iter().filter(|r| r.finish == Finish::Length);
    cut.count() as f64 / responses.len() as f64
}

/// The fraction of responses that end before `max_new_tokens` because prompt and response fill the context.
pub(crate) fn fraction_out_of_context(rollouts: &Rollouts, max_new_tokens: usize) -> f64 {
    let responses = rollouts.sequences.responses();
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
    /// `null` if the reward has no score.
    score: Option<f32>,
    /// Nats.
    kl: f64,
}

/// Writes the first `count` responses to the journal.
pub(crate) fn log_samples(
    journal: &mut Journal,
    step: usize,
    (rollouts, scores): (&Rollouts, &[Option<f32>]),
    count: usize,
) -> Result<()> {
    let sequences = &rollouts.sequences;
    let kl = sums(&rollouts.kl)?;
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
    /// The standard error of the mean; 0 for a single number.
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

/// The maximum difference between the log-probs recorded during sampling and those of the forward pass.
fn max_gap(recorded: &PerToken, scored: &PerToken) -> Result<f64> {
    let pairs = recorded.to_vec()?.into_iter().zip(scored.to_vec()?);
    Ok(pairs.fold(0.0, |max, (a, b)| f64::max(max, f64::from((a - b).abs()))))
}
