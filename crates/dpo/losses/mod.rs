//! The losses of the family, one file a kind, as functions of what a pair's two answers are worth.
//!
//! `margin` are those of the difference of two implicit rewards, `absolute` those that look at
//! each, `length` those that divide by lengths, `transport` what AOT compares; `divergence` says what
//! an implicit reward is.

mod absolute;
mod divergence;
#[cfg(test)]
mod gradient_tests;
mod length;
mod margin;
mod names;
#[cfg(test)]
mod optimum_tests;
#[cfg(test)]
mod table;
mod transport;
mod utility;

pub use divergence::Divergence;
pub use names::{LossName, Optimum};
pub(crate) use transport::matched_margins;
pub use utility::utility;

use rlhf_objective::{Result, log_sigmoid};
use rlhf_tensor::Tensor;

/// A loss on a preference. Under a label that is a draw, the loss is its expectation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Preference {
    /// −(1 − ε)·log σ(h) − ε·log σ(−h), h the difference of the implicit rewards. At ε = 0 it is
    /// DPO (Rafailov et al. 2023, eq. 7), whose optimum under Bradley–Terry labels is
    /// π* = p₀·exp(r/β)/Z; at ε > 0 conservative DPO (Mitchell 2023), whose optimum is that of
    /// labels flipped at rate ε.
    Sigmoid {
        /// ε.
        label_smoothing: f64,
    },
    /// [−(1 − ε)·log σ(h) + ε·log σ(−h)]/(1 − 2ε): DPO where labels are flipped at rate ε, whose
    /// optimum is then π* (Ray Chowdhury et al. 2024, eq. 12). Without bound from below on one pair.
    Robust {
        /// ε.
        label_smoothing: f64,
    },
    /// max(0, 1 − h): SLiC's calibration in implicit rewards (Zhao et al. 2023, eq. 1; Liu et al.
    /// 2024). No proper score: its optimum is not π*.
    Hinge,
    /// (Δ − 1/(2β))², Δ the difference of log-ratios: IPO (Azar et al. 2024, eq. 17), whose optimum
    /// tilts the prior by rates of winning instead of rewards.
    Ipo,
    /// IPO of log-ratios per token, as TRL has it; its optimum depends on lengths.
    IpoNormalized,
    /// KL from the policy's preference σ(h) to the label smoothed to 1 − ε (Ji et al. 2024, eq. 16
    /// for pairs).
    Exo {
        /// ε > 0: without it the divergence is infinite.
        label_smoothing: f64,
    },
    /// −log σ(h₊) − ½·log σ(−h₊) − ½·log σ(−h₋): each answer told from the prior's (Chen et al. 2024,
    /// NCA, with the pair as the sample).
    Nca,
    /// −log σ(h₊) − log σ(−h₋): a classifier of better and worse answers (Jung et al. 2024, with the
    /// threshold at 0).
    Bco,
    /// (log-ratio₊ − 1/(2β))² + (log-ratio₋ + 1/(2β))²: a step of self-play (Wu et al. 2024, hard
    /// labels).
    Sppo,
    /// Conservative DPO on h with the prior's margins matched to the policy's by rank in the batch
    /// (Melnyk et al. 2024, paired): chosen over rejected in first-order stochastic dominance.
    Aot {
        /// ε.
        label_smoothing: f64,
    },
    /// σ(−h₊) + σ(h₋): better answers up, worse ones down (D'Oosterlinck et al. 2024, APO-zero).
    ApoZero,
    /// σ(h₊) + σ(−h): both down, the worse one further (ibid., APO-down).
    ApoDown,
    /// −log σ(h)·σ(−h/τ) + e⁻ʰ·σ(h/τ): a loss found by search (Lu et al. 2024, the log-ratio
    /// modulated loss). Not convex; where the policy is the prior its slope has the wrong sign.
    Discopop {
        /// τ.
        temperature: f64,
    },
    /// −log σ(h₊/n₊ − h₋/n₋ − γ), n tokens: with the counting prior, SimPO (Meng et al. 2024, eq. 6).
    Simpo {
        /// γ, in units of the reward a token.
        margin: f64,
    },
    /// −log π₊/n₊ − λ·log σ(log-odds₊ − log-odds₋), of probabilities per token (Hong et al. 2024,
    /// eq. 6): likelihood is the anchor, and neither a prior nor β has a part.
    Orpo {
        /// λ.
        weight: f64,
    },
}

/// What a loss sees of one answer of each pair: \[pairs\] each.
#[derive(Debug, Clone)]
pub struct Answers {
    /// Implicit rewards, β·log(π/p₀) or what another [`Divergence`] makes of it; in units of the
    /// reward.
    pub implicit: Tensor,
    /// log π of the whole answer, nats.
    pub log_probs: Tensor,
    /// The number of its tokens, as floats.
    pub tokens: Tensor,
}

impl Preference {
    /// The loss of each pair, \[pairs\], given the better answers and the worse ones.
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn losses(&self, beta: f64, better: &Answers, worse: &Answers) -> Result<Tensor> {
        let (high, low) = (&better.implicit, &worse.implicit);
        let margin = || high - low;
        match *self {
            Self::Sigmoid { label_smoothing } | Self::Aot { label_smoothing } => {
                margin::sigmoid(&margin()?, label_smoothing)
            }
            Self::Robust { label_smoothing } => margin::robust(&margin()?, label_smoothing),
            Self::Hinge => margin::hinge(&margin()?),
            Self::Ipo => margin::ipo(&margin()?, beta),
            Self::Exo { label_smoothing } => margin::exo(&margin()?, label_smoothing),
            Self::Discopop { temperature } => margin::discopop(&margin()?, temperature),
            Self::Nca => absolute::nca(high, low),
            Self::Bco => absolute::bco(high, low),
            Self::Sppo => absolute::sppo(high, low, beta),
            Self::ApoZero => absolute::apo_zero(high, low),
            Self::ApoDown => absolute::apo_down(high, low),
            Self::IpoNormalized => length::ipo(better, worse, beta),
            Self::Simpo { margin } => length::simpo(better, worse, margin),
            Self::Orpo { weight } => length::orpo(better, worse, weight),
        }
    }
}

/// σ(x), by its logarithm.
fn sigmoid(x: &Tensor) -> Result<Tensor> {
    Ok(log_sigmoid(x)?.exp()?)
}
