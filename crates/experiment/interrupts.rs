//! Interrupts the running training loop from a signal handler or another thread.

use rlhf_train::Interrupt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A handle on the running loop, if there is one. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Interrupts(Arc<Mutex<Option<Arc<Interrupt>>>>);

/// A registered loop; dropping it unregisters the loop.
pub(crate) struct Running {
    interrupts: Interrupts,
    interrupt: Arc<Interrupt>,
}

impl Interrupts {
    /// A handle without a running loop.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls `with` with the running loop. No loop begins or ends during the call.
    pub fn with_running<T>(&self, with: impl FnOnce(Option<&Interrupt>) -> T) -> T {
        with(self.lock().as_deref())
    }

    /// Registers a loop.
    pub(crate) fn begin(&self) -> Running {
        let interrupt = Arc::new(Interrupt::new());
        *self.lock() = Some(interrupt.clone());
        Running {
            interrupts: self.clone(),
            interrupt,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Interrupt>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    /// The flag that the loop checks.
    pub(crate) fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    /// Unregisters the loop; returns whether an interrupt was requested.
    pub(crate) fn end(self) -> bool {
        *self.interrupts.lock() = None;
        self.interrupt.requested()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        *self.interrupts.lock() = None;
    }
}
