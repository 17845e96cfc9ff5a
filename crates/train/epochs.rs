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

/// How a rollout is gone over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passes {
    /// How often each item is learned from.
    pub epochs: usize,
    /// Optimizer steps in each pass, where there are as many items.
    pub minibatches: usize,
}

/// The batches of all passes over one rollout: its `items` cut into parts as equal as can be, drawn
/// anew in each pass; `part` makes a batch of some of them. One mini-batch a pass is `whole` in its
/// own order, read as it was when it was scored, so that the first ratio is exactly 1.
///
/// # Errors
/// If `part` fails.
pub fn minibatches<B: Clone, T>(
    whole: B,
    mut items: Vec<T>,
    passes: Passes,
    mut rng: Rng,
    part: impl Fn(&B, &[T]) -> rlhf_objective::Result<B>,
) -> rlhf_objective::Result<Vec<B>> {
    let cuts = passes.minibatches.min(items.len());
    if cuts == 1 {
        return Ok(vec![whole; passes.epochs]);
    }
    let mut batches = Vec::with_capacity(passes.epochs * cuts);
    for _ in 0..passes.epochs {
        rng.shuffle(&mut items);
        for cut in 0..cuts {
            let range = cut * items.len() / cuts..(cut + 1) * items.len() / cuts;
            batches.push(part(&whole, &items[range])?);
        }
    }
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mini_batches_cover_a_rollout_in_each_pass() {
        let of = |epochs, minibatches, items: usize| {
            let passes = Passes {
                epochs,
                minibatches,
            };
            let items: Vec<usize> = (0..items).collect();
            let rng = Rng::new(1, Stream::Minibatch, 0, 0);
            minibatches_of(items, passes, rng)
        };
        assert_eq!(of(3, 1, 4), vec![vec![0, 1, 2, 3]; 3]);
        let batches = of(2, 3, 7);
        for pass in batches.chunks(3) {
            let mut all = pass.concat();
            all.sort_unstable();
            assert_eq!(all, (0..7).collect::<Vec<_>>());
            assert!(pass.iter().all(|batch| (2..=3).contains(&batch.len())));
        }
        assert_ne!(batches[..3], batches[3..]);
        assert_eq!(of(1, 9, 4).len(), 4);
    }

    fn minibatches_of(items: Vec<usize>, passes: Passes, rng: Rng) -> Vec<Vec<usize>> {
        minibatches(items.clone(), items, passes, rng, |_, some| {
            Ok(some.to_vec())
        })
        .unwrap()
    }

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
