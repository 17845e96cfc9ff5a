//! Direct preference optimization (Rafailov et al. 2023): the same objective
//! E\[r\] − β·KL(π ‖ p₀), reached from preference pairs without a reward model or sampling.
//!
//! The implicit reward of a response is β·log(π/p₀), [`objective::tilt`](rlhf_objective::tilt) of its
//! summed log-probs; a [`Preference`] turns two of them into a loss. The prior has spoken before
//! training starts ([`PairsWithPrior`](rlhf_objective::PairsWithPrior)), so a step reads the policy
//! alone.

mod batch;
mod config;
#[cfg(test)]
mod golden;
mod learner;
mod preference;

pub use batch::{Batch, PairSource};
pub use config::{Config, LossName};
pub use learner::Dpo;
pub use preference::Preference;
