//! Threads that stay awake while a network is run.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

thread_local! {
    /// Whether this thread runs a pass, and must not wait for another one.
    static LEADS: Cell<bool> = const { Cell::new(false) };
}

/// Runs a whole pass on one of rayon's threads: handing it over once costs less than handing over
/// each of its many small pieces. Meanwhile the other threads look for pieces without going to
/// sleep, since waking one takes as long as many a piece.
pub(super) fn on_the_pool<T: Send>(pass: impl FnOnce() -> T + Send) -> T {
    let done = AtomicBool::new(false);
    rayon::scope(|scope| {
        scope.spawn_broadcast(|_, _| look_for_pieces(&done));
        let _end = End::of(&done);
        pass()
    })
}

/// Runs what other threads hand over until a pass is done.
fn look_for_pieces(done: &AtomicBool) {
    while !done.load(Ordering::Acquire) && !LEADS.get() {
        if rayon::yield_now() != Some(rayon::Yield::Executed) {
            // Other processes want the core too.
            std::thread::yield_now();
        }
    }
}

/// Ends a pass, however it ends.
struct End<'a> {
    done: &'a AtomicBool,
    led: bool,
}

impl<'a> End<'a> {
    fn of(done: &'a AtomicBool) -> Self {
        Self {
            done,
            led: LEADS.replace(true),
        }
    }
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        LEADS.set(self.led);
        self.done.store(true, Ordering::Release);
    }
}
