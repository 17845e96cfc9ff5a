//! Seconds by phase.

use crate::run::Metrics;
use std::time::Instant;

/// Where the time of a step went. Phases that recur add up.
#[derive(Debug)]
pub(crate) struct Clock {
    since: Instant,
    laps: Metrics,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            since: Instant::now(),
            laps: Metrics::new(),
        }
    }

    /// Ends a phase, which began where the last one ended.
    pub(crate) fn lap(&mut self, phase: &'static str) {
        let now = Instant::now();
        *self.laps.entry(phase).or_default() += (now - self.since).as_secs_f64();
        self.since = now;
    }

    /// All phases and their seconds.
    pub(crate) fn laps(self) -> Metrics {
        self.laps
    }
}
