//! Measures the seconds of each phase of a step.

use crate::run::Metrics;
use std::time::Instant;

/// The seconds of each phase of a step. The times of a repeated phase are added.
#[derive(Debug)]
pub(crate) struct Clock {
    since: Instant,
    seconds: Metrics,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            since: Instant::now(),
            seconds: Metrics::new(),
        }
    }

    /// Ends a phase that began when the last one ended.
    pub(crate) fn end_phase(&mut self, phase: &'static str) {
        let now = Instant::now();
        *self.seconds.entry(phase).or_default() += (now - self.since).as_secs_f64();
        self.since = now;
    }

    /// The seconds of each phase.
    pub(crate) fn into_seconds(self) -> Metrics {
        self.seconds
    }
}
