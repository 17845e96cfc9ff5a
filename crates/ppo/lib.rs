//! Proximal policy optimization (Schulman et al. 2017) with a critic, as applied to language models
//! by Ziegler et al. (2019).
//!
//! The rewards already include the KL penalty to the prior
//! ([`Objective::rewards`](rlhf_objective::Objective::rewards)). In each iteration [`gae`] computes
//! advantages and returns from rewards and values, [`whiten`] normalizes the advantages over all
//! rollouts, and the policy and the critic minimize [`policy_losses`] and [`value_losses`] for a few
//! epochs.

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
mod testing;
#[cfg(test)]
mod trl_tests;

pub use batch::Batch;
pub use config::{Advantages, Config};
pub use gae::{explained_variance, gae};
pub use learner::Ppo;
pub use loss::{Clipped, policy_losses, value_losses};
pub use spec::PpoSpec;
pub use whiten::whiten;
