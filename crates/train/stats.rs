//! A loss with its statistics, which the loops write to the metrics.

use rlhf_tensor::Tensor;
use std::collections::BTreeMap;

/// The loss of a batch or of a part of one.
#[derive(Debug)]
pub struct Loss {
    /// The scalar to minimize, in candle's graph with the outputs as leaves.
    pub value: Tensor,
    /// The statistics to log.
    pub stats: Stats,
}

/// Named statistics that are accumulated over the micro-batches of a batch: sums, weighted means and maxima.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Stats(BTreeMap<&'static str, Entry>);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Entry {
    Sum(f64),
    Mean { sum: f64, weight: f64 },
    Max(f64),
}

impl Stats {
    /// Empty statistics.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a sum over micro-batches, such as the loss.
    pub fn sum(&mut self, name: &'static str, value: f64) {
        self.merge(name, Entry::Sum(value));
    }

    /// Adds a mean over items, given their sum and their number (or total weight) in this micro-batch.
    pub fn mean(&mut self, name: &'static str, sum: f64, weight: f64) {
        self.merge(name, Entry::Mean { sum, weight });
    }

    /// Adds a maximum.
    pub fn max(&mut self, name: &'static str, value: f64) {
        self.merge(name, Entry::Max(value));
    }

    /// Adds the statistics of another micro-batch.
    ///
    /// # Panics
    /// If a name is of different kinds in the two, which is an error in a method's code.
    pub fn absorb(&mut self, other: &Self) {
        for (name, entry) in &other.0 {
            self.merge(name, *entry);
        }
    }

    /// The value of a statistic.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0.get(name).map(Entry::value)
    }

    /// All names and values, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, f64)> + '_ {
        self.0.iter().map(|(name, entry)| (*name, entry.value()))
    }

    /// The same values with sums and means as means of weight 1, so that absorbing several batches averages
    /// over them. Maxima stay maxima.
    #[must_use]
    pub fn as_unit_mean(&self) -> Self {
        let item = |entry: &Entry| match *entry {
            Entry::Max(value) => Entry::Max(value),
            _ => Entry::Mean {
                sum: entry.value(),
                weight: 1.0,
            },
        };
        Self(
            self.0
                .iter()
                .map(|(name, entry)| (*name, item(entry)))
                .collect(),
        )
    }

    fn merge(&mut self, name: &'static str, new: Entry) {
        let entry = self.0.entry(name).or_insert(match new {
            Entry::Sum(_) => Entry::Sum(0.0),
            Entry::Mean { .. } => Entry::Mean {
                sum: 0.0,
                weight: 0.0,
            },
            Entry::Max(_) => Entry::Max(f64::NEG_INFINITY),
        });
        match (entry, new) {
            (Entry::Sum(total), Entry::Sum(value)) => *total += value,
            (Entry::Mean { sum, weight }, Entry::Mean { sum: s, weight: w }) => {
                *sum += s;
                *weight += w;
            }
            (Entry::Max(most), Entry::Max(value)) => *most = most.max(value),
            _ => panic!("statistic `{name}` changed its kind"),
        }
    }
}

impl Entry {
    fn value(&self) -> f64 {
        match *self {
            Self::Sum(value) | Self::Max(value) => value,
            Self::Mean { sum, weight } => sum / weight,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_of_micro_batches_add_up() {
        let mut whole = Stats::new();
        for (sum, weight) in [(3.0, 2.0), (5.0, 6.0)] {
            let mut part = Stats::new();
            part.mean("mean", sum, weight);
            part.sum("sum", sum);
            part.max("max", sum);
            whole.absorb(&part);
        }
        let all: Vec<_> = whole.iter().collect();
        assert_eq!(all, [("max", 5.0), ("mean", 1.0), ("sum", 8.0)]);
        assert_eq!(whole.get("none"), None);
        let mut batches = whole.as_unit_mean();
        batches.absorb(&whole.as_unit_mean());
        assert_eq!(batches.iter().collect::<Vec<_>>(), all);
    }
}
