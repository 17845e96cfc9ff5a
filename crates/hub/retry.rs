//! Retries temporary failures.

use crate::{Error, Progress, Result, Retry};
use std::time::Duration;

/// Why an attempt failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A failure that may not recur.
    Temporary {
        why: String,
        /// The wait that the hub asks for.
        wait: Option<Duration>,
        /// Whether the attempt got further than all before. Then the count of failures starts over.
        progressed: bool,
    },
    /// A failure that will recur.
    Final(Error),
}

impl Failure {
    pub(crate) fn temporary(why: impl Into<String>) -> Self {
        Self::Temporary {
            why: why.into(),
            wait: None,
            progressed: false,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

/// The result of one attempt.
pub(crate) type Attempt<T> = std::result::Result<T, Failure>;

impl Retry {
    /// Attempts until one succeeds, fails permanently, or the number of attempts is exhausted.
    pub(crate) fn run<T>(
        &self,
        what: &str,
        progress: &mut dyn Progress,
        mut attempt: impl FnMut(&mut dyn Progress) -> Attempt<T>,
    ) -> Result<T> {
        let mut failures = 0;
        loop {
            let (why, asked, progressed) = match attempt(progress) {
                Ok(value) => return Ok(value),
                Err(Failure::Final(error)) => return Err(error),
                Err(Failure::Temporary {
                    why,
                    wait,
                    progressed,
                }) => (why, wait, progressed),
            };
            failures = if progressed { 1 } else { failures + 1 };
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
                return give_up(format!("{why} for {seconds} s: try again after that"));
            }
            progress.note(&format!("{what}: {why}; retrying in {wait:.0?}"));
            std::thread::sleep(wait);
        }
    }

    fn back_off(&self, failures: u32) -> Duration {
        let doubled = self.first.saturating_mul(1 << (failures - 1).min(16));
        doubled.min(self.longest)
    }
}
