//! KL(π ‖ p₀) per token, exact over the vocabulary.

use crate::{Network, PerToken, Prior, Result, Sequences};

/// The log-probs of a prior and the exact KL to it, for each response token of a batch.
#[derive(Debug, Clone)]
pub struct PriorComparison {
    /// log p₀(yₜ | x, y₍<t₎), nats.
    pub prior_log_probs: PerToken,
    /// KL( π(·|x,y₍<t₎) ‖ p₀(·|x,y₍<t₎) ), nats. Its sum over a response sampled from π is the
    /// Rao–Blackwell estimate of the sequence KL (Amini et al. 2025): unbiased, non-negative where p₀
    /// is a distribution, and of less variance than log(π/p₀).
    pub kl: PerToken,
}

/// Runs the prior on `sequences` and computes the KL of `policy` to it at each response token, over the
/// whole vocabulary. The last forward pass of `policy` must have been on the same `sequences`; otherwise
/// the numbers are wrong.
///
/// # Errors
/// If the policy has run no forward pass or one over fewer tokens, or the prior fails.
pub fn exact_kl(
    policy: &mut dyn Network,
    prior: &mut dyn Prior,
    sequences: &Sequences,
) -> Result<PriorComparison> {
    let mut kl = Vec::with_capacity(sequences.tokens());
    let prior_log_probs = prior.log_probs_with_rows(sequences, &mut |rows, log_dist| {
        kl.extend(policy.log_dist(rows)?.kl(&log_dist)?);
        Ok(())
    })?;
    let kl = PerToken::from_vec(kl, sequences.offsets())?;
    Ok(PriorComparison {
        prior_log_probs,
        kl,
    })
}
