//! Trying again what may pass.

use crate::{Error, Progress, Result, Retry};
use std::time::Duration;

/// Why an attempt failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Something that may be over in a moment.
    Passing {
        why: String,
        /// How long the hub asks to wait.
        wait: Option<Duration>,
        /// Whether the attempt got further than any before: then there is all patience again.
        progress: bool,
    },
    /// Something that will not change.
    Final(Error),
}

impl Failure {
    pub(crate) fn passing(why: impl Into<String>) -> Self {
        Self::Passing {
            why: why.into(),
            wait: None,
            progress: false,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

/// What one attempt comes to.
pub(crate) type Attempt<T> = std::result::Result<T, Failure>;

impl Retry {
    /// Attempts until one succeeds, fails for good, or patience ends.
    pub(crate) fn run<T>(
        &self,
        what: &str,
        watch: &mut dyn Progress,
        mut attempt: impl FnMut(&mut dyn Progress) -> Attempt<T>,
    ) -> Result<T> {
        let mut failures = 0;
        loop {
            let (why, asked, progress) = match attempt(watch) {
                Ok(value) => return Ok(value),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Passing {
                    why,
                    wait,
                    progress,
                }) => (why, wait, progress),
            };
            failures = if progress { 1 } else { failures + 1 };
            let give_up = |why: String| {
                let what = what.to_string();
                Err(Error::Unreachable { what, why })
            };
            if failures >= self.attempts {
                return give_up(format!("{why}, {failures} times in a row"));
            }
            let wait = asked.unwrap_or_else(|| self.back_off(failures));
            if wait > self.longest {
                let seconds = wait.as_secs();
                return give_up(format!("{why} for {seconds} s: try again then"));
            }
            watch.note(&format!("{what}: {why}; trying again in {wait:.0?}"));
            std::thread::sleep(wait);
        }
    }

    fn back_off(&self, failures: u32) -> Duration {
        let doubled = self.first.saturating_mul(1 << (failures - 1).min(16));
        doubled.min(self.longest)
    }
}
