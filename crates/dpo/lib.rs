//! Direct preference optimization (Rafailov et al. 2023): the same objective
//! E\[r\] − β·KL(π ‖ p₀), optimized from preference pairs without a reward model or sampling; and
//! the related losses on pairs.
//!
//! The implicit reward of a response is β·log(π/p₀), [`objective::tilt`](rlhf_objective::tilt) of its
//! summed log-probs. A [`Preference`] computes the loss from those of the chosen and the rejected
//! response; [`LossName`] documents the assumption and the optimum of each loss. Prior log-probs are
//! precomputed ([`PairsWithPrior`](rlhf_objective::PairsWithPrior)), so a training step runs only the
//! policy. With the counting prior the sigmoid loss is CPO.
//!
//! [`Kto`] learns from unpaired responses, each labelled desirable or undesirable.

#![forbid(unsafe_code)]

mod batch;
mod config;
mod kto;
mod learner;
mod losses;
mod scoring;
mod source;
mod spec;
mod statistics;
#[cfg(test)]
mod trl_tests;
mod unpaired;

pub use batch::Batch;
pub use config::{Config, DivergenceName};
pub use kto::{Kto, KtoConfig};
pub use learner::Dpo;
pub use losses::{Divergence, LossName, Optimum, PairSide, Preference, utility};
pub use source::PairSource;
pub use spec::{DpoSpec, KtoSpec};
pub use unpaired::{ResponseSet, UnpairedPreferences, UnpairedSource};
