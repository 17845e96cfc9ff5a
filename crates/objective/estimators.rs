//! The KL from samples: three estimators, the exact one, and the gradient of it.

use crate::{PerSeq, PerToken, Result};
use rlhf_tensor::{DType, Tensor};

/// k1 = log π − log p₀ of the token drawn, nats: unbiased, of either sign, noisy (Schulman 2020).
///
/// Where it is paid decides what is optimized (Tang & Munos 2025, §3):
///
/// | paid | its expected gradient |
/// |---|---|
/// | in the reward, detached | ∇KL(π ‖ p₀): what [`Objective`](crate::Objective) does |
/// | in the loss | 0: no penalty at all |
///
/// # Errors
/// If the shapes differ.
pub fn k1(log_probs: &Tensor, prior_log_probs: &Tensor) -> Result<Tensor> {
    Ok((log_probs - prior_log_probs)?)
}

/// k2 = ½·(log π − log p₀)² of the token drawn, nats: biased as an estimate of the KL (Schulman 2020).
///
/// | paid | its expected gradient |
/// |---|---|
/// | in the loss, of a whole response drawn from π | ∇KL(π ‖ p₀) |
/// | in the loss, token by token | that of each token's KL alone: another optimum |
/// | in the reward | of nothing of use |
///
/// Between a policy and itself a few steps ago it measures how far an update has gone.
///
/// # Errors
/// If the shapes differ.
pub fn k2(log_probs: &Tensor, prior_log_probs: &Tensor) -> Result<Tensor> {
    Ok((k1(log_probs, prior_log_probs)?.sqr()? * 0.5)?)
}

/// k3 = p₀/π − 1 − log(p₀/π) of the token drawn, nats: unbiased and never negative, of little
/// variance where π is near p₀ and of more than k1's where it is far (Schulman 2020).
///
/// | paid | its expected gradient |
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
/// responses drawn from π, given the exact KL at each of their tokens ([`kl_of_rows`], carrying its
/// gradient) and their log-probs:
///
/// ```text
/// Σₜ [ ∇KLₜ + ∇log πₜ · Σ_{t′>t} KL_{t′} ]
/// ```
///
/// The first part is how π moves each token's own KL, the second how a token moves the KL of those
/// after it (Amini et al. 2025, §4; Tang & Munos 2025, eq. 5). Its mean is that of the score-function
/// gradient with k1, its variance less; either part alone has another optimum. The *value* is not the
/// KL: that is the sum of `kl`.
///
/// # Errors
/// If the two are not of the same responses.
pub fn rao_blackwell(log_probs: &PerToken, kl: &PerToken) -> Result<PerSeq> {
    let to_come = PerToken::new(to_come(kl)?, kl.offsets())?;
    let score = (log_probs.values() * to_come.values())?;
    PerToken::new((kl.values() + score)?, log_probs.offsets())?.sums()
}

/// Σ_{t′>t} of each token of each response, detached: \[N\].
fn to_come(of: &PerToken) -> Result<Tensor> {
    let values = of.values().detach();
    let mut sums = values.to_dtype(DType::F64)?.to_vec1::<f64>()?;
    for sequence in 0..of.sequences() {
        let mut after = 0.0;
        for value in sums[of.range(sequence)].iter_mut().rev() {
            (*value, after) = (after, after + *value);
        }
    }
    let length = sums.len();
    Ok(Tensor::from_vec(sums, length, values.device())?.to_dtype(values.dtype())?)
}
