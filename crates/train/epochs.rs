//! The order in which a fixed data set is gone through.

use rlhf_tensor::{Rng, Stream};

/// Batches of items for several passes over a data set, each pass in its own random order. Which
/// items a step gets depends on the settings and the seed alone, so a run can resume at any step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Epochs {
    batches: Vec<Vec<usize>>,
}

impl Epochs {
    /// `epochs` passes over items of these `costs` (1 each, or their tokens). A batch takes the
    /// next items of the order while their cost is at most `limit`, and one item at least; it never
    /// crosses the end of a pass.
    #[must_use]
    pub fn new(costs: &[usize], limit: usize, epochs: usize, seed: u64) -> Self {
        let mut batches: Vec<Vec<usize>> = Vec::new();
        for epoch in 0..epochs {
            let mut order: Vec<usize> = (0..costs.len()).collect();
            Rng::new(seed, Stream::Shuffle, epoch as u64, 0).shuffle(&mut order);
            let mut batch = Vec::new();
            let mut used = 0;
            for item in order {
                if !batch.is_empty() && used + costs[item] > limit {
                    batches.push(std::mem::take(&mut batch));
                    used = 0;
                }
                batch.push(item);
                used += costs[item];
            }
            if !batch.is_empty() {
                batches.push(batch);
            }
        }
        Self { batches }
    }

    /// How many batches there are, over all passes.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.batches.len()
    }

    /// The items of the batch of a step, counted from 0.
    ///
    /// # Panics
    /// If there is no such step.
    #[must_use]
    pub fn items(&self, step: usize) -> &[usize] {
        &self.batches[step]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pass_takes_each_item_once() {
        let epochs = Epochs::new(&[1; 10], 4, 3, 7);
        assert_eq!(epochs.steps(), 9);
        let pass = |n: usize| -> Vec<usize> {
            (3 * n..3 * n + 3)
                .flat_map(|step| epochs.items(step).to_vec())
                .collect()
        };
        for n in 0..3 {
            let mut sorted = pass(n);
            sorted.sort_unstable();
            assert_eq!(sorted, (0..10).collect::<Vec<_>>());
        }
        assert_ne!(pass(0), pass(1));
        assert_eq!(epochs.items(2).len(), 2);
        assert_eq!(epochs, Epochs::new(&[1; 10], 4, 3, 7));
        assert_ne!(epochs, Epochs::new(&[1; 10], 4, 3, 8));
    }

    #[test]
    fn a_batch_is_full_when_the_next_item_does_not_fit() {
        let costs = [3, 9, 2, 2, 5, 1, 20];
        let epochs = Epochs::new(&costs, 8, 2, 1);
        for step in 0..epochs.steps() {
            let items = epochs.items(step);
            let cost: usize = items.iter().map(|&i| costs[i]).sum();
            assert!(!items.is_empty() && (cost <= 8 || items.len() == 1));
        }
        assert_eq!(Epochs::new(&[], 8, 2, 1).steps(), 0);
    }
}
