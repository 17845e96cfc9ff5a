//! Signals that end a run once it has saved.

use anyhow::Result;
use signal_hook::SigId;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag::{register, register_conditional_shutdown};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Takes signals for as long as it lives.
pub(crate) struct Signals {
    interrupt: Arc<AtomicBool>,
    handlers: Vec<SigId>,
}

impl Signals {
    /// From now on the first signal raises a flag; a second one ends the program at once.
    pub(crate) fn watch() -> Result<Self> {
        let interrupt = Arc::new(AtomicBool::new(false));
        let mut handlers = Vec::new();
        for signal in [SIGINT, SIGTERM] {
            let now = register_conditional_shutdown(signal, 130, interrupt.clone());
            handlers.extend([now?, register(signal, interrupt.clone())?]);
        }
        Ok(Self {
            interrupt,
            handlers,
        })
    }

    /// The flag.
    pub(crate) fn flag(&self) -> &AtomicBool {
        &self.interrupt
    }

    /// Whether there was a signal.
    pub(crate) fn raised(&self) -> bool {
        self.interrupt.load(Ordering::Relaxed)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for handler in self.handlers.drain(..) {
            signal_hook::low_level::unregister(handler);
        }
    }
}
