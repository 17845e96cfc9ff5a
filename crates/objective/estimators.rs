//! Estimators of the KL from samples (k1, k2, k3), the exact KL of rows, and its gradient.

use crate::{PerSeq, PerToken, Result};
use rlhf_tensor::{DType, Tensor};

/// k1 = log π − log p₀ of the sampled token, nats: unbiased, of either sign, noisy (Schulman 2020).
///
/// Its placement decides what is optimized (Tang & Munos 2025, §3):
///
/// | placement | expected gradient |
/// |---|---|
/// | in the reward, detached | ∇KL(π ‖ p₀): what [`Objective`](crate::Objective) does |
/// | in the loss | 0: no penalty |
///
/// # Errors
/// If the shapes differ.
pub fn k1(log_probs: &Tensor, prior_log_probs: &Tensor) -> Result<Tensor> {
    Ok((log_probs - prior_log_probs)?)
}

/// k2 = ½·(log π − log p₀)² of the sampled token, nats: biased as an estimate of the KL (Schulman 2020).
///
/// | placement | expected gradient |
/// |---|---|
/// | in the loss, of a whole response sampled from π | ∇KL(π ‖ p₀) |
/// | in the loss, per token | that of each token's own KL: another optimum |
/// | in the reward | not the gradient of a divergence |
///
/// Between a policy and its earlier version it measures the size of an update.
///
/// # Errors
/// If the shapes differ.
pub fn k2(log_probs: &Tensor, prior_log_probs: &Tensor) -> Result<Tensor> {
    Ok((k1(log_probs, prior_log_probs)?.sqr()? * 0.5)?)
}

/// k3 = p₀/π − 1 − log(p₀/π) of the sampled token, nats: unbiased and never negative, with less variance
/// than k1 where π is near p₀ and more where it is far (Schulman 2020).
///
/// | placement | expected gradient |
/// |---|---|
/// | in the loss (GRPO) | ∇KL(p₀ ‖ π), the forward KL: another optimum |
/// | in the reward | ∇KL(π ‖ p₀) − ∇KL(p₀ ‖ π): biased |
///
/// # Errors
/// If the shapes differ.
pub fn k3(log_probs: &Tensor, prior_log_probs: &Tensor) -> Result<Tensor> {
    let ratio = k1(log_probs, prior_log_probs)?;
    Ok(((ratio.neg()?.exp()? - 1.0)? + ratio)?)
}

/// KL(π ‖ p₀) of each row of two log-distributions [rows, V], nats: \[rows\], differentiable. A token
/// of probability 0 adds nothing.
///
/// # Errors
/// If the shapes differ.
pub fn kl_of_rows(log_dist: &Tensor, prior_log_dist: &Tensor) -> Result<Tensor> {
    let ratio = k1(log_dist, prior_log_dist)?;
    let possible = log_dist.gt(f64::NEG_INFINITY)?;
    let ratio = possible.where_cond(&ratio, &ratio.zeros_like()?)?;
    Ok((log_dist.exp()? * ratio)?.sum(1)?)
}

/// A value for each response whose gradient is an unbiased estimate of that of the sequence KL, for
/// responses sampled from π, given the exact KL at each of their tokens ([`kl_of_rows`], carrying its
/// gradient) and their log-probs:
///
/// ```text
/// Σₜ [ ∇KLₜ + ∇log πₜ · Σ_{t′>t} KL_{t′} ]
/// ```
///
/// The first term is the effect of π on each token's own KL, the second the effect of a token on the KL
/// of later tokens (Amini et al. 2025, §4; Tang & Munos 2025, eq. 5). It has the mean of the
/// score-function gradient with k1 and less variance; either term alone has another optimum. The *value*
/// is not the KL: that is the sum of `kl`.
///
/// # Errors
/// If the two are not of the same responses.
pub fn rao_blackwell(log_probs: &PerToken, kl: &PerToken) -> Result<PerSeq> {
    let future_sums = PerToken::new(future_sums(kl)?, kl.offsets())?;
    let score = (log_probs.values() * future_sums.values())?;
    PerToken::new((kl.values() + score)?, log_probs.offsets())?.sums()
}

/// Σ_{t′>t} `per_token`_{t′} for each token t of each response, detached: \[N\].
fn future_sums(per_token: &PerToken) -> Result<Tensor> {
    let values = per_token.values().detach();
    let mut sums = values.to_dtype(DType::F64)?.to_vec1::<f64>()?;
    for sequence in 0..per_token.sequences() {
        let mut after = 0.0;
        for value in sums[per_token.range(sequence)].iter_mut().rev() {
            (*value, after) = (after, after + *value);
        }
    }
    let length = sums.len();
    Ok(Tensor::from_vec(sums, length, values.device())?.to_dtype(values.dtype())?)
}
