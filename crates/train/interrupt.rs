//! Interrupts a run from another thread.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

/// Requests that a run ends after the current step, with a checkpoint. Shared between the thread of the run
/// and the thread that requests it.
#[derive(Debug, Default)]
pub struct Interrupt {
    requested: Arc<AtomicBool>,
    saving: Mutex<()>,
}

/// A guard: as long as it exists, the run does not begin to save.
#[derive(Debug)]
pub struct SaveGuard<'a>(#[allow(dead_code)] MutexGuard<'a, ()>);

thread_local! {
    /// The request flag of the run whose steps this thread executes.
    static CURRENT_RUN: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
}

/// The error of a reward whose wait for an external process was stopped because the run was interrupted.
/// Rewards return it wrapped by [`rlhf_objective::Error::other`]; the run then saves the steps before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the run was interrupted while it waited for a reward")]
pub struct WaitInterrupted;

/// A guard: as long as it exists, [`Interrupt::requested_here`] on this thread refers to its run.
pub(crate) struct CurrentRun(Option<Arc<AtomicBool>>);

impl Drop for CurrentRun {
    fn drop(&mut self) {
        CURRENT_RUN.set(self.0.take());
    }
}

impl Interrupt {
    /// Without a request.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Requests that the run ends.
    pub fn request(&self) {
        self.requested.store(true, Ordering::SeqCst);
    }

    /// Whether the end of the run was requested.
    #[must_use]
    pub fn requested(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }

    /// Whether the end of the run whose steps this thread executes was requested, for code inside a step
    /// that waits and has no access to the run. `false` on a thread that executes no run.
    #[must_use]
    pub fn requested_here() -> bool {
        CURRENT_RUN.with_borrow(|run| run.as_ref().is_some_and(|run| run.load(Ordering::SeqCst)))
    }

    /// Declares that this thread executes the steps of the run, until the guard is dropped.
    pub(crate) fn enter(&self) -> CurrentRun {
        CurrentRun(CURRENT_RUN.replace(Some(self.requested.clone())))
    }

    /// Prevents the run from saving as long as the guard exists, for a caller that is about to end the
    /// process. `None` while a checkpoint or the final model is being written.
    #[must_use]
    pub fn block_saving(&self) -> Option<SaveGuard<'_>> {
        match self.saving.try_lock() {
            Ok(guard) => Some(SaveGuard(guard)),
            Err(TryLockError::Poisoned(guard)) => Some(SaveGuard(guard.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Calls `save`, during which [`block_saving`](Self::block_saving) returns `None`.
    pub(crate) fn saving<T>(&self, save: impl FnOnce() -> T) -> T {
        let _guard = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        save()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requested_here_refers_to_the_run_of_the_thread() {
        let interrupt = Interrupt::new();
        interrupt.request();
        assert!(!Interrupt::requested_here());
        {
            let _current_run = interrupt.enter();
            assert!(Interrupt::requested_here());
            let other = Interrupt::new();
            let inner = other.enter();
            assert!(!Interrupt::requested_here());
            drop(inner);
            assert!(Interrupt::requested_here());
            assert!(
                !std::thread::spawn(Interrupt::requested_here)
                    .join()
                    .unwrap()
            );
        }
        assert!(!Interrupt::requested_here());
    }

    #[test]
    fn block_saving_fails_while_a_checkpoint_is_saved() {
        let interrupt = Interrupt::new();
        assert!(!interrupt.requested());
        assert!(interrupt.block_saving().is_some());
        interrupt.saving(|| {
            interrupt.request();
            assert!(interrupt.block_saving().is_none());
        });
        assert!(interrupt.requested() && interrupt.block_saving().is_some());
    }
}
