//! Stops waits for scores after the run was interrupted.

use rlhf_objective::Error;
use rlhf_train::{Interrupt, WaitInterrupted};
use std::time::{Duration, Instant};

/// How often a wait checks whether the run was interrupted.
pub(crate) const POLL: Duration = Duration::from_millis(20);
/// How long a wait continues after the interrupt, so that a fast reward allows the step to finish.
const GRACE: Duration = Duration::from_millis(500);

/// The state of one wait for scores.
#[derive(Debug, Default)]
pub(crate) struct InterruptTimer {
    /// When the wait first noticed the interrupt.
    since: Option<Instant>,
}

impl InterruptTimer {
    /// Whether to stop waiting, because the run of this thread was interrupted.
    pub(crate) fn should_stop(&mut self) -> bool {
        Interrupt::requested_here()
            && self.since.get_or_insert_with(Instant::now).elapsed() >= GRACE
    }
}

/// The error of a wait that was stopped.
pub(crate) fn wait_interrupted() -> Error {
    Error::other(WaitInterrupted)
}
