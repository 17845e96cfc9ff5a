//! The order of items and batches over epochs of a fixed data set.

use rlhf_objective::Dataset;
use rlhf_tensor::{Rng, Stream};
use std::collections::{HashSet, VecDeque};

/// Batches of items over several epochs of a data set, each epoch in its own random order.
///
/// An epoch uses each item once. If an epoch ends in the middle of a batch, the batch is filled from the
/// next epoch, so that all batches but the last have the full size. From that epoch it takes only items
/// that it does not contain yet; the skipped items come first in the next batch. (With an item twice in a
/// batch, a step would learn from fewer items than its size. Ending the batch at the end of the epoch would
/// make small batches, and shuffling all epochs together would lose "each item once per epoch".)
///
/// The items of a step depend only on the settings and the seed, so a run can resume at any step.
#[derive(Debug, Clone, PartialEq)]
pub struct Epochs {
    /// The items of all batches, concatenated.
    items: Vec<usize>,
    /// The end of each batch in `items`.
    ends: Vec<usize>,
    /// The weight of the last batch.
    last_weight: f64,
}

impl Epochs {
    /// Batches of `epochs` epochs over items of these `costs` (1 each, or their tokens). A batch takes the
    /// next items while their total cost is at most `limit`, and at least one item. The last batch contains
    /// the remaining items. If all items together cost less than `limit`, each batch is a whole epoch.
    #[must_use]
    pub fn new(costs: &[usize], limit: usize, epochs: usize, seed: u64) -> Self {
        let mut epoch_items = EpochItems::new(costs.len(), epochs, seed);
        let (mut all, mut sums) = (Self::empty(), Vec::new());
        let mut used = 0;
        loop {
            let batch = all.current_batch();
            let next = epoch_items.next(batch);
            match next {
                Next::Item(item) if batch.is_empty() || used + costs[item] <= limit => {
                    epoch_items.take();
                    all.items.push(item);
                    used += costs[item];
                    continue;
                }
                _ if !batch.is_empty() => {
                    all.end_batch();
                    epoch_items.next_batch();
                    sums.push(std::mem::take(&mut used));
                }
                _ => {}
            }
            if next == Next::End {
                break;
            }
        }
        if let Some((last, full)) = sums.split_last() {
            let usual = match full.len() {
                0 => limit.min(costs.iter().sum()) as f64,
                steps => full.iter().sum::<usize>() as f64 / steps as f64,
            };
            all.last_weight = (*last as f64 / usual).min(1.0);
        }
        all
    }

    /// The same over the items of a data set, whose costs are their network tokens.
    #[must_use]
    pub fn by_tokens(items: &dyn Dataset, limit: usize, epochs: usize, seed: u64) -> Self {
        let costs: Vec<usize> = (0..items.count()).map(|item| items.cost(item)).collect();
        Self::new(&costs, limit, epochs, seed)
    }

    /// `steps` batches of exactly `size` of `count` items, over as many epochs as needed. If there are fewer
    /// than `size` items, a batch contains items several times; their counts differ by at most one.
    #[must_use]
    pub fn filled(count: usize, size: usize, steps: usize, seed: u64) -> Self {
        let mut all = Self::empty();
        if count == 0 || size == 0 {
            return all;
        }
        let mut epoch_items = EpochItems::new(count, usize::MAX, seed);
        while all.steps() < steps {
            while all.current_batch().len() < size {
                match epoch_items.next(all.current_batch()) {
                    Next::Item(item) => {
                        epoch_items.take();
                        all.items.push(item);
                    }
                    Next::OnlyDuplicates => epoch_items.allow_duplicates(),
                    Next::End => break,
                }
            }
            all.end_batch();
            epoch_items.next_batch();
        }
        all
    }

    /// The number of batches of `epochs` epochs over `count` items that cost 1 each.
    #[must_use]
    pub fn steps_of(count: usize, size: usize, epochs: usize) -> usize {
        match size.min(count) {
            0 => 0,
            size => (count * epochs).div_ceil(size),
        }
    }

    fn empty() -> Self {
        Self {
            items: Vec::new(),
            ends: Vec::new(),
            last_weight: 1.0,
        }
    }

    /// The batch being filled.
    fn current_batch(&self) -> &[usize] {
        &self.items[self.ends.last().copied().unwrap_or(0)..]
    }

    fn end_batch(&mut self) {
        self.ends.push(self.items.len());
    }

    /// The number of batches over all epochs.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.ends.len()
    }

    /// The items of the batch of a step, counted from 0.
    ///
    /// # Panics
    /// If there is no such step.
    #[must_use]
    pub fn items(&self, step: usize) -> &[usize] {
        let start = step.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.items[start..self.ends[step]]
    }

    /// The weight of a step's batch, in (0, 1]: 1 for all but the last, and for the last its cost relative
    /// to that of a full batch (the mean of the others), so that each of its items has the weight of the
    /// items of other batches.
    #[must_use]
    pub fn share(&self, step: usize) -> f64 {
        if step + 1 == self.steps() {
            self.last_weight
        } else {
            1.0
        }
    }
}

/// What can be added to the current batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Item(usize),
    /// All remaining items of the epoch are in the batch already.
    OnlyDuplicates,
    /// All epochs are used up.
    End,
}

/// Returns the items of one epoch after another.
struct EpochItems {
    count: usize,
    seed: u64,
    /// The number of epochs begun, and their total.
    pass: usize,
    passes: usize,
    /// The remaining items of the epoch, in order, without `skipped`.
    remaining: VecDeque<usize>,
    /// The items of the batch that came from earlier epochs.
    in_batch: HashSet<usize>,
    /// Whether the batch may take duplicates for the rest of the epoch.
    allow_duplicates: bool,
    /// Items that were skipped as duplicates, in order: the first items of the next batch.
    skipped: Vec<usize>,
}

impl EpochItems {
    fn new(count: usize, passes: usize, seed: u64) -> Self {
        Self {
            count,
            seed,
            pass: 0,
            passes: if count == 0 { 0 } else { passes },
            remaining: VecDeque::new(),
            in_batch: HashSet::new(),
            allow_duplicates: false,
            skipped: Vec::new(),
        }
    }

    /// The next item that can be added to the current batch, `batch`.
    fn next(&mut self, batch: &[usize]) -> Next {
        loop {
            while let Some(&item) = self.remaining.front() {
                if self.allow_duplicates || !self.in_batch.contains(&item) {
                    return Next::Item(item);
                }
                self.skipped.push(item);
                self.remaining.pop_front();
            }
            if !self.skipped.is_empty() {
                return Next::OnlyDuplicates;
            }
            if self.pass == self.passes {
                return Next::End;
            }
            let mut order: Vec<usize> = (0..self.count).collect();
            Rng::new(self.seed, Stream::Shuffle, self.pass as u64, 0).shuffle(&mut order);
            self.pass += 1;
            self.remaining = order.into();
            self.allow_duplicates = false;
            if self.in_batch.is_empty() {
                self.in_batch.extend(batch);
            }
        }
    }

    /// Removes the item that [`next`](Self::next) returned.
    fn take(&mut self) {
        self.remaining.pop_front();
    }

    /// Allows duplicates in the batch for the rest of the epoch.
    fn allow_duplicates(&mut self) {
        self.allow_duplicates = true;
        self.remaining = std::mem::take(&mut self.skipped).into();
    }

    fn next_batch(&mut self) {
        self.in_batch.clear();
        self.allow_duplicates = false;
        for item in self.skipped.drain(..).rev() {
            self.remaining.push_front(item);
        }
    }
}

/// The number of epochs and mini-batches over one rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passes {
    /// How many epochs over the rollout.
    pub epochs: usize,
    /// Optimizer steps per epoch (at most one per item).
    pub minibatches: usize,
}

/// The mini-batches of all epochs over one rollout. Each epoch shuffles `items` and cuts them into parts
/// whose sizes differ by at most one; `part` makes the batch of a part. With one mini-batch per epoch it is
/// `whole` in its own order, which has the micro-batches of scoring, so that the first importance ratio is
/// exactly 1.
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
    fn mini_batches_cover_the_rollout_in_each_epoch() {
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

    fn sizes(epochs: &Epochs) -> Vec<usize> {
        (0..epochs.steps()).map(|n| epochs.items(n).len()).collect()
    }

    fn in_order(epochs: &Epochs) -> Vec<usize> {
        let steps = 0..epochs.steps();
        steps.flat_map(|n| epochs.items(n).to_vec()).collect()
    }

    fn has_duplicates(batch: &[usize]) -> bool {
        let distinct: HashSet<_> = batch.iter().collect();
        distinct.len() < batch.len()
    }

    #[test]
    fn each_epoch_uses_each_item_once_and_batches_have_no_duplicates() {
        for (count, size, passes) in [(10, 4, 3), (200, 64, 7), (5, 4, 9), (7, 7, 2), (6, 1, 2)] {
            for seed in 0..20 {
                let epochs = Epochs::new(&vec![1; count], size, passes, seed);
                let all = in_order(&epochs);
                for item in 0..count {
                    let times = all.iter().filter(|other| **other == item).count();
                    assert_eq!(times, passes, "{item} of {count}");
                }
                // Epochs follow each other: after n epochs' worth of items, each item was used n times,
                // up to one batch.
                for pass in 1..passes {
                    let so_far = &all[..(pass * count).next_multiple_of(size).min(all.len())];
                    let least =
                        |item| so_far.iter().filter(|other| **other == item).count() >= pass;
                    assert!((0..count).all(least));
                }
                let full = epochs.steps() - 1;
                assert!(sizes(&epochs)[..full].iter().all(|&n| n == size));
                assert_eq!(epochs.steps(), (count * passes).div_ceil(size));
                assert_eq!(epochs.steps(), Epochs::steps_of(count, size, passes));
                assert!((0..=full).all(|step| !has_duplicates(epochs.items(step))));
                assert_eq!(epochs, Epochs::new(&vec![1; count], size, passes, seed));
            }
        }
        let of = |seed| in_order(&Epochs::new(&[1; 10], 5, 2, seed));
        assert_ne!(of(7), of(8));
        assert_ne!(of(7)[..10], of(7)[10..]);
    }

    #[test]
    fn the_last_batch_has_the_remaining_items_and_their_weight() {
        let epochs = Epochs::new(&[1; 10], 4, 3, 7);
        assert_eq!(sizes(&epochs), [4, 4, 4, 4, 4, 4, 4, 2]);
        let shares: Vec<_> = (0..8).map(|step| epochs.share(step)).collect();
        assert_eq!(shares, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5]);
        let even = Epochs::new(&[1; 8], 4, 1, 7);
        assert_eq!((sizes(&even), even.share(1)), (vec![4, 4], 1.0));
    }

    #[test]
    fn a_batch_larger_than_the_data_set_is_an_epoch() {
        let epochs = Epochs::new(&[1; 3], 16, 4, 7);
        assert_eq!(sizes(&epochs), [3; 4]);
        assert_eq!(
            (Epochs::steps_of(3, 16, 4), Epochs::steps_of(0, 16, 4)),
            (4, 0)
        );
        assert!(
            (0..4).all(|step| epochs.share(step) == 1.0 && !has_duplicates(epochs.items(step)))
        );
    }

    #[test]
    fn a_batch_ends_when_the_next_item_exceeds_the_limit() {
        let costs = [3, 9, 2, 2, 5, 1, 20];
        for seed in 0..50 {
            let epochs = Epochs::new(&costs, 8, 4, seed);
            let cost = |step: usize| epochs.items(step).iter().map(|&i| costs[i]).sum::<usize>();
            let last = epochs.steps() - 1;
            let all = in_order(&epochs);
            let mut done = 0;
            for step in 0..=last {
                let items = epochs.items(step);
                assert!(cost(step) <= 8 || items.len() == 1);
                assert!(!items.is_empty() && !has_duplicates(items));
                done += items.len();
                // The next new item exceeds the limit, at the end of an epoch too.
                let next = all[done..].iter().find(|item| !items.contains(item));
                assert!(next.is_none_or(|&item| cost(step) + costs[item] > 8));
            }
            assert!((0..7).all(|item| all.iter().filter(|i| **i == item).count() == 4));
            let usual = (0..last).map(cost).sum::<usize>() as f64 / last as f64;
            assert_eq!(epochs.share(last), (cost(last) as f64 / usual).min(1.0));
        }
        assert_eq!(Epochs::new(&[], 8, 2, 1).steps(), 0);
        assert_eq!(Epochs::new(&[1; 3], 8, 0, 1).steps(), 0);
    }

    #[test]
    fn filled_batches_have_the_full_size_for_any_number_of_items() {
        for (count, size) in [
            (200, 64),
            (64, 64),
            (65, 64),
            (4, 10),
            (3, 10),
            (1, 5),
            (7, 20),
        ] {
            let all = Epochs::filled(count, size, 25, 3);
            assert_eq!(sizes(&all), vec![size; 25]);
            for step in 0..25 {
                let times = |item| all.items(step).iter().filter(|i| **i == item).count();
                let counts: Vec<usize> = (0..count).map(times).collect();
                let (most, least) = (counts.iter().max().unwrap(), counts.iter().min().unwrap());
                assert!(most - least <= 1, "{count} at {size}: {counts:?}");
            }
            // The same holds over the whole run.
            let order = in_order(&all);
            let times: Vec<usize> = (0..count)
                .map(|item| order.iter().filter(|i| **i == item).count())
                .collect();
            let (most, least) = (times.iter().max().unwrap(), times.iter().min().unwrap());
            assert!(most - least <= 1, "{count} at {size}: {times:?}");
        }
        // The first steps do not depend on the number of steps.
        let (few, many) = (Epochs::filled(9, 4, 3, 1), Epochs::filled(9, 4, 30, 1));
        assert_eq!(in_order(&few), in_order(&many)[..12]);
        assert_eq!(Epochs::filled(0, 4, 3, 1).steps(), 0);
    }
}
