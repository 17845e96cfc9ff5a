//! How a run is asked to end before its end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// Asks a run to end once the step under way is finished and saved; shared with the thread that asks.
#[derive(Debug, Default)]
pub struct Interrupt {
    asked: AtomicBool,
    saving: Mutex<()>,
}

/// While it lives, the run it was taken from begins no save.
#[derive(Debug)]
pub struct NotSaving<'a>(#[allow(dead_code)] MutexGuard<'a, ()>);

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
