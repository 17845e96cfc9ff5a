//! The preference losses, as functions of the implicit rewards of the chosen and rejected responses.
//!
//! `margin` holds losses of the difference of the two implicit rewards, `absolute` losses of each
//! separately, `length` length-normalized losses, `transport` the rank matching of AOT, `divergence`
//! the definition of the implicit reward.

mod absolute;
mod divergence;
#[cfg(test)]
mod gradient_tests;
mod length;
mod margin;
mod names;
#[cfg(test)]
mod optimum_tests;
mod transport;
mod utility;
#[cfg(test)]
mod value_tests;

pub use divergence::Divergence;
pub use names::{LossName, Optimum};
pub(crate) use transport::matched_margins;
pub use utility::utility;

use rlhf_objective::{Result, log_sigmoid};
use rlhf_tensor::Tensor;

/// A loss on a preference pair. For a soft label, the loss is the expectation over the label.
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
    /// optimum is then π* (Ray Chowdhury et al. 2024, eq. 12). Unbounded below on a single pair.
    Robust {
        /// ε.
        label_smoothing: f64,
    },
    /// max(0, 1 − h): SLiC's calibration loss on implicit rewards (Zhao et al. 2023, eq. 1; Liu et
    /// al. 2024). Not a proper scoring rule, so its optimum is not π*.
    Hinge,
    /// (Δ − 1/(2β))², Δ the difference of log-ratios: IPO (Azar et al. 2024, eq. 17), whose optimum
    /// tilts the prior by win rates instead of rewards.
    Ipo,
    /// IPO of log-ratios per token, as in TRL; its optimum depends on response lengths.
    IpoNormalized,
    /// KL from the policy's preference σ(h) to the label smoothed to 1 − ε (Ji et al. 2024, eq. 16
    /// for pairs).
    Exo {
        /// ε > 0: without it the divergence is infinite.
        label_smoothing: f64,
    },
    /// −log σ(h₊) − ½·log σ(−h₊) − ½·log σ(−h₋): classifies each response against samples of the
    /// prior (Chen et al. 2024, NCA, with the pair as the sample).
    Nca,
    /// −log σ(h₊) − log σ(−h₋): a binary classifier of chosen and rejected responses (Jung et al.
    /// 2024, with the threshold at 0).
    Bco,
    /// (log-ratio₊ − 1/(2β))² + (log-ratio₋ + 1/(2β))²: one self-play step (Wu et al. 2024, hard
    /// labels).
    Sppo,
    /// Conservative DPO on h with the prior's margins matched to the policy's by rank in the batch
    /// (Melnyk et al. 2024, paired): chosen over rejected in first-order stochastic dominance.
    Aot {
        /// ε.
        label_smoothing: f64,
    },
    /// σ(−h₊) + σ(h₋): raises chosen and lowers rejected responses (D'Oosterlinck et al. 2024,
    /// APO-zero).
    ApoZero,
    /// σ(h₊) + σ(−h): lowers both, the rejected one more (ibid., APO-down).
    ApoDown,
    /// −log σ(h)·σ(−h/τ) + e⁻ʰ·σ(h/τ): a loss found by search (Lu et al. 2024, the log-ratio
    /// modulated loss). Not convex. At small τ its slope at h = 0 is positive (+0.78 at τ = 0.05), so
    /// training from the prior at first lowers the chosen response against the rejected one.
    Discopop {
        /// τ.
        temperature: f64,
    },
    /// −log σ(h₊/n₊ − h₋/n₋ − γ), n tokens: with the counting prior, SimPO (Meng et al. 2024, eq. 6).
    Simpo {
        /// γ, in units of the reward per token.
        margin: f64,
    },
    /// −log π₊/n₊ − λ·log σ(log-odds₊ − log-odds₋), of probabilities per token (Hong et al. 2024,
    /// eq. 6): the likelihood of the chosen response replaces the KL penalty; neither a prior nor β
    /// is used.
    Orpo {
        /// λ.
        weight: f64,
    },
}

/// The inputs of a loss for one side of each pair, the chosen or the rejected responses: \[pairs\]
/// each.
#[derive(Debug, Clone)]
pub struct PairSide {
    /// Implicit rewards, β·log(π/p₀) or β·f′(π/p₀) of another [`Divergence`], in units of the
    /// reward.
    pub implicit_rewards: Tensor,
    /// log π of the whole response, nats.
    pub log_probs: Tensor,
    /// The number of tokens of the response, as floats.
    pub lengths: Tensor,
}

impl Preference {
    /// The loss of each pair, \[pairs\].
    ///
    /// # Errors
    /// If the shapes differ.
    pub fn losses(&self, beta: f64, chosen: &PairSide, rejected: &PairSide) -> Result<Tensor> {
        let (h_chosen, h_rejected) = (&chosen.implicit_rewards, &rejected.implicit_rewards);
        let margin = || h_chosen - h_rejected;
        match *self {
            Self::Sigmoid { label_smoothing } | Self::Aot { label_smoothing } => {
                margin::sigmoid(&margin()?, label_smoothing)
            }
            Self::Robust { label_smoothing } => margin::robust(&margin()?, label_smoothing),
            Self::Hinge => margin::hinge(&margin()?),
            Self::Ipo => margin::ipo(&margin()?, beta),
            Self::Exo { label_smoothing } => margin::exo(&margin()?, label_smoothing),
            Self::Discopop { temperature } => margin::discopop(&margin()?, temperature),
            Self::Nca => absolute::nca(h_chosen, h_rejected),
            Self::Bco => absolute::bco(h_chosen, h_rejected),
            Self::Sppo => absolute::sppo(h_chosen, h_rejected, beta),
            Self::ApoZero => absolute::apo_zero(h_chosen, h_rejected),
            Self::ApoDown => absolute::apo_down(h_chosen, h_rejected),
            Self::IpoNormalized => length::ipo(chosen, rejected, beta),
            Self::Simpo { margin } => length::simpo(chosen, rejected, margin),
            Self::Orpo { weight } => length::orpo(chosen, rejected, weight),
        }
    }
}

/// σ(x), computed as exp(log σ(x)).
fn sigmoid(x: &Tensor) -> Result<Tensor> {
    Ok(log_sigmoid(x)?.exp()?)
}
