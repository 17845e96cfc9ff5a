//! Warnings about the metrics of a run, for users.
//!
//! The warnings are a pure function of the metrics so far, so a resumed run gives the same warnings as an
//! uninterrupted one. A warning is given when its condition has held for some steps in a row, and again only
//! after the condition has not held for [`STEPS_BETWEEN`](episode::STEPS_BETWEEN) steps.

mod conditions;
mod episode;
#[cfg(test)]
mod warnings_tests;

use crate::decline::Decline;
use conditions::{CONDITIONS, Metrics};
use episode::Episode;
use std::collections::BTreeMap;

/// Checks the metrics of each step.
#[derive(Debug, Default)]
pub(crate) struct Warnings {
    /// The metrics of the first step.
    first: Option<BTreeMap<String, f64>>,
    episodes: [Episode; CONDITIONS.len()],
    decline: Decline,
    decline_episode: Episode,
}

impl Warnings {
    /// The warnings about the next step, given its metrics.
    pub(crate) fn check(&mut self, metrics: &Metrics<'_>) -> Vec<String> {
        let owned = |(name, value): (&&str, &f64)| ((*name).to_string(), *value);
        let first = self
            .first
            .get_or_insert_with(|| metrics.iter().map(owned).collect());
        let first: Metrics<'_> = first
            .iter()
            .map(|(name, value)| (name.as_str(), *value))
            .collect();
        let mut warnings = Vec::new();
        for (condition, episode) in CONDITIONS.iter().zip(&mut self.episodes) {
            let holds = (condition.holds)(&first, metrics).unwrap_or(false);
            if episode.step(holds, condition.steps) {
                warnings.extend((condition.message)(&first, metrics));
            }
        }
        let decline = self.decline.check(metrics);
        if self.decline_episode.step(decline.is_some(), 1) {
            warnings.extend(decline);
        }
        warnings
    }
}
