//! Proximal policy optimization (Schulman et al. 2017) with a critic, as Ziegler et al. (2019)
//! brought it to language models.
//!
//! The KL to the prior is already in the rewards when they arrive here
//! ([`Objective::rewards`](rlhf_objective::Objective::rewards)); this crate only climbs. An
//! iteration: [`gae`] turns rewards and values into advantages and returns, [`whiten`] scales the
//! advantages over the whole rollout, and a few epochs of [`policy_losses`] and [`value_losses`]
//! follow.

#![forbid(unsafe_code)]

mod batch;
mod config;
mod gae;
mod learner;
mod loss;
mod spec;
mod whiten;

#[cfg(test)]
mod exact_optimum_tests;
#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod testing;

pub use batch::Batch;
pub use config::{Advantages, Config};
pub use gae::{explained_variance, gae};
pub use learner::Ppo;
pub use loss::{Clipped, policy_losses, value_losses};
pub use spec::PpoSpec;
pub use whiten::whiten;
