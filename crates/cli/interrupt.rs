//! Handles signals that interrupt a training run.
//!
//! While a loop runs, the first signal makes it save and end: after the current step, or, if it waits for a
//! reward, after the previous one. Outside a loop, a signal ends the program at once, because everything is
//! saved.

use anyhow::Result;
use rlhf_experiment::Interrupts;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The state that determines what a signal does.
static STATE: Mutex<State> = Mutex::new(State {
    interrupts: None,
    resumable: false,
    #[cfg(unix)]
    first: None,
});

struct State {
    /// Interrupts the running loop, if there is one.
    interrupts: Option<Interrupts>,
    /// Whether there is a run folder that can be resumed.
    resumable: bool,
    /// When the first signal arrived.
    #[cfg(unix)]
    first: Option<std::time::Instant>,
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Records that there is a run folder from which `--resume` can continue.
pub(crate) fn resumable() {
    state().resumable = true;
}

/// Starts handling SIGINT (Ctrl-C), SIGTERM, and SIGHUP unless the program was started to ignore it. Once
/// per process.
#[cfg(unix)]
pub(crate) fn listen(interrupts: &Interrupts) -> Result<()> {
    state().interrupts = Some(interrupts.clone());
    unix::listen()
}

/// On other systems Ctrl-C ends the program at once. Checkpoints are complete, so a run can be resumed from
/// the last.
#[cfg(not(unix))]
pub(crate) fn listen(interrupts: &Interrupts) -> Result<()> {
    state().interrupts = Some(interrupts.clone());
    Ok(())
}

#[cfg(unix)]
mod unix {
    use super::{State, state};
    use crate::output::log;
    use anyhow::{Context, Result};
    use rlhf_experiment::Interrupted;
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;
    use std::ffi::c_int;
    use std::fmt::Display;
    use std::time::{Duration, Instant};

    /// A signal this soon after the first is taken for the same one: `timeout` and shells send it to a
    /// process and again to its group.
    const REPEATED: Duration = Duration::from_secs(2);

    pub(super) fn listen() -> Result<()> {
        let mut handled = vec![SIGINT, SIGTERM];
        if !is_ignored(SIGHUP) {
            handled.push(SIGHUP);
        }
        let mut signals = Signals::new(handled).context("cannot handle signals")?;
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || signals.forever().for_each(|_| handle_signal(&mut state())))
            .context("cannot handle signals")?;
        Ok(())
    }

    /// Whether the program was started with the signal ignored, as by `nohup`. True if the system does not
    /// report it.
    fn is_ignored(signal: c_int) -> bool {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        mask.is_none_or(|mask| mask >> (signal - 1) & 1 == 1)
    }

    /// Handles a signal. The state stays locked, so that no loop begins or ends meanwhile.
    fn handle_signal(state: &mut State) {
        let now = Instant::now();
        let first = *state.first.get_or_insert(now);
        let resumable = state.resumable;
        let interrupts = state.interrupts.clone().unwrap_or_default();
        interrupts.with_running(|running| match running {
            Some(run) if !run.requested() => {
                run.request();
                log(
                    "interrupted: the current step is finished and saved first; a second signal, after two \
                     seconds or more, ends the run at once",
                );
            }
            _ if now > first && now - first < REPEATED => {}
            Some(run) => match run.block_saving() {
                Some(_guard) => {
                    end("ended at once, without the current step: continue with --resume")
                }
                None => log("the run ends when its state is saved"),
            },
            None if resumable => end(Interrupted),
            None => end("interrupted before anything was written"),
        });
    }

    fn end(message: impl Display) -> ! {
        let _ended = rlhf_reward::end_programs();
        log(message);
        signal_hook::low_level::exit(130)
    }
}
