//! Methods on problems that can be solved exactly.
//!
//! A [`World`] is a problem of the oracle with the real objects for it: a table network as the policy,
//! a prior, a reward that has been written down. [`train`] runs a method over it through the very
//! loops, sampler and optimizer of every other run, and measures exactly how near it came.

mod recipe;
mod train;
mod world;

#[cfg(test)]
mod optimum;

pub use recipe::{Recipe, TabularMethod};
pub use train::{Reached, Runner, Stop, networks, train};
pub use world::{World, frozen, shape};
