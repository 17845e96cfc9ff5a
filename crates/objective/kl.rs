//! KL(π ‖ p₀), exact over the vocabulary.

use crate::{Network, PerToken, Prior, Result, Sequences};

/// What a prior says of the response tokens that a policy has read.
#[derive(Debug, Clone)]
pub struct AgainstPrior {
    /// log p₀(yₜ | x, y₍<t₎), nats.
    pub prior_log_probs: PerToken,
    /// KL( π(·|x,y₍<t₎) ‖ p₀(·|x,y₍<t₎) ), nats. Its sum over a response sampled from π is the
    /// Rao–Blackwell estimate of the sequence KL (Amini et al. 2025): unbiased, non-negative where p₀
    /// is a distribution, and of less variance than log(π/p₀).
    pub kl: PerToken,
}

/// Has the prior read the batch that `policy` read last, which must be `sequences`, and compares the
/// two at each response token, over the whole vocabulary. Of another batch the numbers would be wrong.
///
/// # Errors
/// If the policy has read nothing or less, or the prior cannot.
pub fn exact_kl(
    policy: &mut dyn Network,
    prior: &mut dyn Prior,
    sequences: &Sequences,
) -> Result<AgainstPrior> {
    let mut kl = Vec::with_capacity(sequences.tokens());
    let prior_log_probs = prior.log_probs_with_rows(sequences, &mut |rows, log_dist| {
        kl.extend(policy.log_dist(rows)?.kl(&log_dist)?);
        Ok(())
    })?;
    let kl = PerToken::from_vec(kl, sequences.offsets())?;
    Ok(AgainstPrior {
        prior_log_probs,
        kl,
    })
}
