//! Trains methods on problems that can be solved exactly.
//!
//! A [`World`] wraps a problem of the oracle: a table of logits as the policy, a prior and a table of
//! rewards. [`train`] runs a method on it with the same loops, sampler and optimizer as any other run, and
//! measures its exact distance from the optimum.

mod recipe;
mod train;
mod world;

#[cfg(test)]
mod optimum_tests;

pub use recipe::{Recipe, TabularMethod};
pub use train::{Runner, TabularPoint, TabularRun, networks, train};
pub use world::{World, frozen, shape};
