//! How a run is asked to end before its end.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

/// Asks a run to end once the step under way is finished and saved; shared with the thread that asks.
#[derive(Debug, Default)]
pub struct Interrupt {
    asked: Arc<AtomicBool>,
    saving: Mutex<()>,
}

/// While it lives, the run it was taken from begins no save.
#[derive(Debug)]
pub struct NotSaving<'a>(#[allow(dead_code)] MutexGuard<'a, ()>);

thread_local! {
    /// Whether the run that this thread drives was asked to end.
    static DRIVEN: RefCell<Option<Arc<AtomicBool>>> = const { RefCell::new(None) };
}

/// A wait that was given up because the run was asked to end. A reward that waits for something outside
/// returns it, wrapped by [`rlhf_objective::Error::other`]; the run then saves the steps before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the run was interrupted while it waited for a reward")]
pub struct Abandoned;

/// While it lives, [`Interrupt::asked_here`] on this thread speaks of one run.
pub(crate) struct Driven(Option<Arc<AtomicBool>>);

impl Drop for Driven {
    fn drop(&mut self) {
        DRIVEN.set(self.0.take());
    }
}

impl Interrupt {
    /// Nobody has asked yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the run to end.
    pub fn ask(&self) {
        self.asked.store(true, Ordering::SeqCst);
    }

    /// Whether the run was asked to end.
    #[must_use]
    pub fn asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// Whether the run whose steps this thread does was asked to end: for what waits inside a step and
    /// knows nothing of the run. `false` on a thread that does no run's steps.
    #[must_use]
    pub fn asked_here() -> bool {
        DRIVEN.with_borrow(|run| run.as_ref().is_some_and(|run| run.load(Ordering::SeqCst)))
    }

    /// From here on this thread does the steps of the run that this interrupts.
    pub(crate) fn driven_here(&self) -> Driven {
        Driven(DRIVEN.replace(Some(self.asked.clone())))
    }

    /// Keeps the run from saving as long as the guard lives, for a caller that is about to end the
    /// process; `None` while a checkpoint or the final model is being written.
    #[must_use]
    pub fn not_saving(&self) -> Option<NotSaving<'_>> {
        match self.saving.try_lock() {
            Ok(guard) => Some(NotSaving(guard)),
            Err(TryLockError::Poisoned(guard)) => Some(NotSaving(guard.into_inner())),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Does `save`, during which [`not_saving`](Self::not_saving) answers `None`.
    pub(crate) fn saving<T>(&self, save: impl FnOnce() -> T) -> T {
        let _guard = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        save()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_in_a_step_hears_of_the_run_of_its_own_thread() {
        let interrupt = Interrupt::new();
        interrupt.ask();
        assert!(!Interrupt::asked_here());
        {
            let _driven = interrupt.driven_here();
            assert!(Interrupt::asked_here());
            let other = Interrupt::new();
            let inner = other.driven_here();
            assert!(!Interrupt::asked_here());
            drop(inner);
            assert!(Interrupt::asked_here());
            assert!(!std::thread::spawn(Interrupt::asked_here).join().unwrap());
        }
        assert!(!Interrupt::asked_here());
    }

    #[test]
    fn nobody_ends_the_process_while_something_is_saved() {
        let interrupt = Interrupt::new();
        assert!(!interrupt.asked());
        assert!(interrupt.not_saving().is_some());
        interrupt.saving(|| {
            interrupt.ask();
            assert!(interrupt.not_saving().is_none());
        });
        assert!(interrupt.asked() && interrupt.not_saving().is_some());
    }
}
