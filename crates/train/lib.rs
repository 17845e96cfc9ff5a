//! The two loops, online and offline, and what a method must say to be run by them.
//!
//! A [`Learner`] turns a network's outputs on a batch into a loss; a [`Method`] is a learner that
//! makes its batches from scored rollouts. Neither sees a network's inside, a prior or a reward,
//! and the loops name no method.
//!
//! ```text
//! online:   prompts → sample → score → rewards → batches → update, update, … → next iteration
//! offline:  source → update → next step
//! ```

#![forbid(unsafe_code)]

mod clock;
mod epochs;
mod error;
mod evaluate;
mod fallen;
mod interrupt;
mod judged;
mod learner;
mod metrics;
mod offline;
mod online;
mod run;
mod schedule;
mod source;
mod state;
mod stats;
mod update;
mod warnings;

#[cfg(test)]
mod failing_tests;
#[cfg(test)]
mod gpt2;
#[cfg(test)]
mod online_tests;
#[cfg(test)]
mod toy;

pub use epochs::{Epochs, Passes, minibatches};
pub use error::{Error, Result};
pub use evaluate::evaluate;
pub use interrupt::{Abandoned, Interrupt, NotSaving};
pub use learner::{Learner, Method};
pub use offline::offline;
pub use online::{Online, Prompts, online};
pub use run::{Ended, Progress, Run, Watch};
pub use schedule::{Decay, Schedule, WarmUp};
pub use source::Source;
pub use state::{State, restore};
pub use stats::{Loss, Stats};
pub use update::Optim;
