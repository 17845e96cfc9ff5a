//! How a signal, or another thread, ends what a run is doing.

use rlhf_train::Interrupt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A handle on the loop that is under way, if one is. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Interrupts(Arc<Mutex<Option<Arc<Interrupt>>>>);

/// A loop under way, until the value is dropped.
pub(crate) struct Running {
    interrupts: Interrupts,
    own: Arc<Interrupt>,
}

impl Interrupts {
    /// Of a program in which no loop runs yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls `with` with the loop under way; none begins or ends meanwhile.
    pub fn with_running<T>(&self, with: impl FnOnce(Option<&Interrupt>) -> T) -> T {
        with(self.lock().as_deref())
    }

    /// Begins a loop.
    pub(crate) fn begin(&self) -> Running {
        let own = Arc::new(Interrupt::new());
        *self.lock() = Some(own.clone());
        Running {
            interrupts: self.clone(),
            own,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Interrupt>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    /// What the loop looks at.
    pub(crate) fn interrupt(&self) -> &Interrupt {
        &self.own
    }

    /// Ends the loop, and says whether it was asked to end.
    pub(crate) fn end(self) -> bool {
        *self.interrupts.lock() = None;
        self.own.requested()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        *self.interrupts.lock() = None;
    }
}
