//! KL(π ‖ p₀), exact over the vocabulary.

use crate::{Network, PerToken, Prior, Result, Sequences};
use rlhf_tensor::{Tensor, cpu};

/// Rows of [rows, V] held at once: 64 × 50,257 × 4 bytes = 13 MB for each of π and p₀.
const ROWS: usize = 64;

/// KL( π(·|x,y₍<t₎) ‖ p₀(·|x,y₍<t₎) ) for each response token of the batch that `policy` read last,
/// which must be `sequences`. Its sum over a response sampled from π is the Rao–Blackwell estimate
/// of the sequence KL (Amini et al. 2025): unbiased, non-negative, and of less variance than
/// log(π/p₀).
///
/// # Errors
/// If the policy has not read `sequences`, or the prior cannot.
pub fn exact_kl(
    policy: &mut dyn Network,
    prior: &mut dyn Prior,
    sequences: &Sequences,
) -> Result<PerToken> {
    let mut kl = Vec::with_capacity(sequences.tokens());
    for start in (0..sequences.tokens()).step_by(ROWS) {
        let rows = start..(start + ROWS).min(sequences.tokens());
        let log_dist = policy.log_dist(rows.clone())?;
        let prior_log_dist = prior.log_dist(sequences, rows)?;
        kl.extend(kl_rows(&log_dist, &prior_log_dist)?);
    }
    PerToken::from_vec(kl, sequences.offsets())
}

/// Σ_v exp(log π)·(log π − log p₀) for each row.
fn kl_rows(log_dist: &Tensor, prior_log_dist: &Tensor) -> Result<Vec<f32>> {
    let (_, vocab) = log_dist.dims2()?;
    let flat = |t: &Tensor| t.flatten_all()?.to_vec1::<f32>();
    Ok(cpu::kl_rows(
        &flat(log_dist)?,
        &flat(prior_log_dist)?,
        vocab,
    ))
}
