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

/// How often a thread looks in vain before it lets other processes have the core.
const LOOKS: usize = 1 << 8;

/// Runs what other threads hand over until a pass is done.
fn look_for_pieces(done: &AtomicBool) {
    let mut in_vain = 0;
    while !done.load(Ordering::Acquire) && !LEADS.get() {
        in_vain = match rayon::yield_now() {
            Some(rayon::Yield::Executed) => 0,
            _ => in_vain + 1,
        };
        match in_vain % LOOKS {
            0 => std::thread::yield_now(),
            _ => std::hint::spin_loop(),
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
