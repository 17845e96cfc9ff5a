//! Direct preference optimization (Rafailov et al. 2023): the same objective
//! E\[r\] − β·KL(π ‖ p₀), reached from preference pairs without a reward model or sampling; and the
//! losses that grew up around it.
//!
//! The implicit reward of a response is β·log(π/p₀), [`objective::tilt`](rlhf_objective::tilt) of its
//! summed log-probs; a [`Preference`] turns two of them into a loss, and [`LossName`] says of each loss
//! what it assumes and where its optimum is. The prior has spoken before training starts
//! ([`PairsWithPrior`](rlhf_objective::PairsWithPrior)), so a step reads the policy alone. With the
//! counting prior the same loss is CPO.
//!
//! [`Kto`] learns from single answers, liked or not.

#![forbid(unsafe_code)]

mod batch;
mod config;
#[cfg(test)]
mod golden_tests;
mod kto;
mod learner;
mod losses;
mod read;
mod source;
mod spec;
mod statistics;
mod unpaired;

pub use batch::Batch;
pub use config::{Config, DivergenceName};
pub use kto::{Kto, KtoConfig};
pub use learner::Dpo;
pub use losses::{Answers, Divergence, LossName, Optimum, Preference, utility};
pub use source::PairSource;
pub use spec::{DpoSpec, KtoSpec};
pub use unpaired::{AnswerSet, UnpairedPreferences, UnpairedSource};
