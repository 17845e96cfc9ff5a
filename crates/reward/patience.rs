//! How long a wait for a score goes on once the run was asked to end.

use rlhf_objective::Error;
use rlhf_train::{Abandoned, Interrupt};
use std::time::{Duration, Instant};

/// How often a wait looks whether it should end.
pub(crate) const POLL: Duration = Duration::from_millis(20);
/// What a reward still gets once the run was asked to end: a quick one lets the step be finished.
const GRACE: Duration = Duration::from_millis(500);

/// One wait for scores.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    /// When the wait first knew of the end.
    since: Option<Instant>,
}

impl Patience {
    /// Whether to give up the wait, because the run that this thread does was asked to end.
    pub(crate) fn is_over(&mut self) -> bool {
        Interrupt::asked_here() && self.since.get_or_insert_with(Instant::now).elapsed() >= GRACE
    }
}

/// What a wait that was given up returns.
pub(crate) fn abandoned() -> Error {
    Error::other(Abandoned)
}
