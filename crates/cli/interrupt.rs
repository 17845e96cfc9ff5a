//! Signals that ask a training run to end.
//!
//! While a loop runs, the first signal lets it finish and save the step under way, or give that step up
//! and save the one before where it waits for a reward. Before and after, it
//! ends the program at once: nothing is in memory that is not saved.

use anyhow::Result;
use rlhf_experiment::Interrupts;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a signal does at this moment.
static STATE: Mutex<State> = Mutex::new(State {
    interrupts: None,
    resumable: false,
    #[cfg(unix)]
    first: None,
});

struct State {
    /// The loop that is asked to end, if one runs.
    interrupts: Option<Interrupts>,
    /// Whether there is a run folder that can be resumed.
    resumable: bool,
    /// When the signal came that the program is ending for.
    #[cfg(unix)]
    first: Option<std::time::Instant>,
}

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From here on there is a run folder that `--resume` continues.
pub(crate) fn resumable() {
    state().resumable = true;
}

/// Listens to Ctrl-C, to SIGTERM, and to SIGHUP where the program was not started to ignore it. Once a
/// process.
#[cfg(unix)]
pub(crate) fn listen(interrupts: &Interrupts) -> Result<()> {
    state().interrupts = Some(interrupts.clone());
    unix::listen()
}

/// Elsewhere Ctrl-C ends the program at once: checkpoints are whole, and a run continues from the last.
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

    /// A signal that follows the first one this soon is the same: `timeout` and shells send it to a
    /// process and again to its group.
    const SAME: Duration = Duration::from_secs(2);

    pub(super) fn listen() -> Result<()> {
        let mut wanted = vec![SIGINT, SIGTERM];
        if !is_ignored(SIGHUP) {
            wanted.push(SIGHUP);
        }
        let mut signals = Signals::new(wanted).context("cannot listen to signals")?;
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || signals.forever().for_each(|_| came(&mut state())))
            .context("cannot listen to signals")?;
        Ok(())
    }

    /// Whether the program was started to ignore a signal, as `nohup` does. Where the system does not
    /// say, the signal is left as it is.
    fn is_ignored(signal: c_int) -> bool {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
        mask.is_none_or(|mask| mask >> (signal - 1) & 1 == 1)
    }

    /// Does what a signal asks for. The state is held meanwhile, so that no loop begins or ends.
    fn came(state: &mut State) {
        let now = Instant::now();
        let first = *state.first.get_or_insert(now);
        let resumable = state.resumable;
        let interrupts = state.interrupts.clone().unwrap_or_default();
        interrupts.with_running(|running| match running {
            Some(run) if !run.requested() => {
                run.request();
                log(
                    "interrupted: what is under way is finished and saved first; a second signal, two \
                     seconds from now or later, ends the run at once",
                );
            }
            _ if now > first && now - first < SAME => {}
            Some(run) => match run.block_saving() {
                Some(_guard) => {
                    end("ended at once, without what was under way: continue with --resume")
                }
                None => log("the run ends as soon as it is saved"),
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
