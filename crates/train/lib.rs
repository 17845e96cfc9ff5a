//! The two loops, online and offline, and what a method must say to be run by them.
//!
//! A [`Learner`] turns a network's outputs on a batch into a loss; a [`Method`] is a learner that
//! makes its batches from scored rollouts. Neither sees a network's inside, a prior or a reward,
//! and the loops name no method.

mod epochs;
mod evaluate;
mod learner;
mod schedule;
mod source;
mod stats;

pub use epochs::Epochs;
pub use evaluate::evaluate;
pub use learner::{Learner, Method};
pub use schedule::{Decay, Schedule, WarmUp};
pub use source::Source;
pub use stats::{Loss, Stats};
