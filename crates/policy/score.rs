//! From samples to rollouts.

use crate::Sampled;
use rlhf_objective::{Network, PerToken, Prior, Result, Rollouts, Want, exact_kl};

/// One batched pass of the policy and the prior over what was drawn: log π_old, log p₀, values,
/// entropies and exact KL. At most `tokens` network tokens are read at once, and `group`
/// consecutive responses stay together: cut as an update with the same two numbers cuts them, so
/// that its first ratio is exactly 1.
///
/// # Errors
/// If a network cannot read a response.
pub fn score(
    policy: &mut dyn Network,
    prior: &mut dyn Prior,
    sampled: Sampled,
    tokens: usize,
    group: usize,
) -> Result<Rollouts> {
    let sequences = sampled.sequences;
    let (mut log_probs, mut entropy, mut values) = (vec![], vec![], vec![]);
    let (mut prior_log_probs, mut kl) = (vec![], vec![]);
    for range in sequences.micro_batches(tokens, group) {
        let part = sequences.select(&range.collect::<Vec<_>>());
        let outputs = policy.read(&part, Want::SCORE.with_entropy())?;
        log_probs.push(outputs.log_probs);
        entropy.extend(outputs.entropy);
        values.extend(outputs.values);
        prior_log_probs.push(prior.log_probs(&part)?);
        kl.push(exact_kl(policy, prior, &part)?);
    }
    let values = (!values.is_empty()).then(|| PerToken::concat(&values));
    Ok(Rollouts {
        log_probs: PerToken::concat(&log_probs)?,
        values: values.transpose()?,
        entropy: PerToken::concat(&entropy)?,
        prior_log_probs: PerToken::concat(&prior_log_probs)?,
        kl: PerToken::concat(&kl)?,
        sampled_log_probs: sampled.log_probs,
        sequences,
    })
}
