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
//!
//! A learner says which networks it needs, by [role](Role); the loops take them as
//! [`Networks`](rlhf_policy::Networks), which merge what the roles answer, hand gradients back to the role
//! that answered, and step all of them with one norm.
//!
//! # A third loop
//!
//! A loop off the policy, with a replay buffer and a loss for each role (soft Q-learning, soft
//! actor–critic: Haarnoja et al. 2018), has its place here and is not built yet:
//!
//! ```text
//! replay:   prompts → sample → rewards → buffer; then, some times: draw a batch → read every role →
//!           for each role with a loss: gradients of rows → backward_rows → backward → step;
//!           update_averages → next iteration
//! ```
//!
//! - **Roles.** Its `ROLES` are those of the actor, of one or two critics, and of their averaged copies; the
//!   wiring that makes networks for the other loops makes those too.
//! - **One loss a role.** In place of [`Learner::loss`] on outputs, a method answers for a range of rows with
//!   a gradient of rows for each role that it trains: `(Role, RowGradients)`. It gets the networks of its
//!   roles at once from [`Networks::several_mut`](rlhf_policy::Networks::several_mut) and the rows of the
//!   prior, and sees rows through their operations alone
//!   ([`expected_tilt`](rlhf_objective::ActionValues::expected_tilt),
//!   [`soft_value`](rlhf_objective::ActionValues::soft_value),
//!   [`gather`](rlhf_objective::ActionValues::gather)). Ranges add up, so nothing holds \[N, V\].
//! - **Steps.** Each role is stepped through
//!   [`Networks::network_mut`](rlhf_policy::Networks::network_mut), with the norm of its own gradient;
//!   [`update_averages`](rlhf_policy::Networks::update_averages) follows.
//! - **State.** The buffer and a temperature are a [`Method::State`], the copies are networks: both are part
//!   of a checkpoint already.
//!
//! `off_policy_tests.rs` does so on a tree of which every answer is known.

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
mod spec;
mod state;
mod stats;
mod update;
mod warnings;

#[cfg(test)]
mod failing_tests;
#[cfg(test)]
mod method_state_tests;
#[cfg(test)]
mod off_policy_tests;
#[cfg(test)]
mod online_tests;
#[cfg(test)]
mod test_networks;
#[cfg(test)]
mod test_world;

pub use epochs::{Epochs, Passes, minibatches};
pub use error::{Error, Result};
pub use evaluate::evaluate;
pub use interrupt::{Abandoned, Interrupt, NotSaving};
pub use learner::{Learner, Method};
pub use offline::offline;
pub use online::{Online, Prompts, online};
pub use rlhf_policy::Role;
pub use run::{Ended, Observer, Progress, Run};
pub use schedule::{LrSchedule, Schedule, WarmUp};
pub use source::Source;
pub use spec::{
    Aim, BatchUnit, DataPasses, Defaults, LearnsFrom, MethodSpec, OfflineSpec, OnlineSpec, Preset,
    PriorUse, RowField, RunShape, Updates,
};
pub use state::{State, restore};
pub use stats::{Loss, Stats};
pub use update::Optim;
