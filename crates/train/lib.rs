//! The training loops, online and offline, and the traits of the methods they run.
//!
//! A [`Learner`] computes a loss from a network's outputs on a batch; a [`Method`] is a learner that makes
//! its batches from scored rollouts. Neither depends on a network's architecture, a prior or a reward, and
//! the loops depend on no method.
//!
//! ```text
//! online:   prompts → sample → score → rewards → batches → update, update, … → next iteration
//! offline:  source → update → next step
//! ```
//!
//! A learner declares the networks it needs by [role](Role). The loops take them as
//! [`Networks`](rlhf_policy::Networks), which combine the outputs of the roles, pass each gradient to the
//! role that computed the output, and update all of them with one gradient norm.
//!
//! # An off-policy loop
//!
//! An off-policy loop with a replay buffer and a loss for each role (soft Q-learning, soft actor–critic:
//! Haarnoja et al. 2018) is planned for this crate and not implemented yet:
//!
//! ```text
//! replay:   prompts → sample → rewards → buffer; then, several times: draw a batch → forward each role →
//!           for each role with a loss: gradients of rows → backward_rows → backward → step;
//!           update_averages → next iteration
//! ```
//!
//! - **Roles.** Its `ROLES` are the actor, one or two critics, and their averaged copies. The code that
//!   makes networks for the other loops makes these too.
//! - **One loss per role.** Instead of [`Learner::loss`] on outputs, a method returns for a range of rows the
//!   gradient with respect to the rows of each role that it trains: `(Role, RowGradients)`. It gets the
//!   networks of its roles from [`Networks::several_mut`](rlhf_policy::Networks::several_mut) and the rows
//!   of the prior, and uses only operations on rows
//!   ([`expected_tilt`](rlhf_objective::ActionValues::expected_tilt),
//!   [`soft_value`](rlhf_objective::ActionValues::soft_value),
//!   [`gather`](rlhf_objective::ActionValues::gather)). Gradients of ranges accumulate, so no tensor of
//!   shape \[N, V\] is needed.
//! - **Steps.** Each role takes its optimizer step through
//!   [`Networks::network_mut`](rlhf_policy::Networks::network_mut), with the norm of its own gradient;
//!   [`update_averages`](rlhf_policy::Networks::update_averages) follows.
//! - **State.** The buffer and a temperature are a [`Method::State`], and the copies are networks, so
//!   checkpoints already contain both.
//!
//! `off_policy_tests.rs` does this on a tree that is solved exactly.

#![forbid(unsafe_code)]

mod clock;
mod decline;
mod epochs;
mod error;
mod evaluate;
mod interrupt;
mod learner;
mod metrics;
mod offline;
mod online;
mod run;
mod schedule;
mod scored_responses;
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
pub use interrupt::{Interrupt, SaveGuard, WaitInterrupted};
pub use learner::{Learner, Method};
pub use offline::offline;
pub use online::{Online, Prompts, online};
pub use rlhf_policy::Role;
pub use run::{Ended, Observer, Progress, Run};
pub use schedule::{LrSchedule, Schedule, WarmUp};
pub use source::Source;
pub use spec::{
    BatchUnit, DataPasses, Defaults, LearnsFrom, MethodSpec, ObjectiveTerms, OfflineSpec,
    OnlineSpec, Preset, PriorUse, RowField, RunShape, Updates,
};
pub use state::{State, restore};
pub use stats::{Loss, Stats};
pub use update::Optim;
