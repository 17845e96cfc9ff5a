//! The order in which a fixed data set is gone through.

use rlhf_objective::Dataset;
use rlhf_tensor::{Rng, Stream};
use std::collections::{HashSet, VecDeque};

/// Batches of items, from one pass over a data set after another, each pass in its own random order.
///
/// A pass takes each item once. A batch is filled from the next pass where one ends in the middle of
/// it, so that no step sees a remainder; of that pass it takes only items that it does not hold yet, and
/// those it passed over are the first of the next batch. (A step on one item twice would learn from
/// fewer items than it says. Ending the batch there, or drawing from all passes at once, would give
/// remainders back or lose "each item once a pass".)
///
/// Which items a step gets depends on the settings and the seed alone, so a run can resume at any step.
#[derive(Debug, Clone, PartialEq)]
pub struct Epochs {
    /// The items of all batches, one batch after the other.
    items: Vec<usize>,
    /// Where each batch ends among them.
    ends: Vec<usize>,
    /// What the last batch weighs.
    last: f64,
}

impl Epochs {
    /// `epochs` passes over items of these `costs` (1 each, or their tokens). A batch takes the
    /// next items of the order while their cost is at most `limit`, and one item at least. The last
    /// batch of the last pass has what is left. Where all items together cost less than `limit`, each
    /// batch is all of them, and a pass.
    #[must_use]
    pub fn new(costs: &[usize], limit: usize, epochs: usize, seed: u64) -> Self {
        let mut deal = Deal::new(costs.len(), epochs, seed);
        let (mut all, mut sums) = (Self::none(), Vec::new());
        let mut used = 0;
        loop {
            let batch = all.open();
            let next = deal.next(batch);
            match next {
                Next::Item(item) if batch.is_empty() || used + costs[item] <= limit => {
                    deal.take();
                    all.items.push(item);
                    used += costs[item];
                    continue;
                }
                _ if !batch.is_empty() => {
                    all.close();
                    deal.next_batch();
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
            all.last = (*last as f64 / usual).min(1.0);
        }
        all
    }

    /// The same over `items`, each of which costs the tokens that a network reads for it.
    #[must_use]
    pub fn by_tokens(items: &dyn Dataset, limit: usize, epochs: usize, seed: u64) -> Self {
        let costs: Vec<usize> = (0..items.count()).map(|item| items.cost(item)).collect();
        Self::new(&costs, limit, epochs, seed)
    }

    /// `steps` batches of exactly `size` of `count` items, pass after pass without an end. Where there
    /// are fewer items than that, a batch takes each of them about as often as every other: the numbers
    /// differ by one at most.
    #[must_use]
    pub fn filled(count: usize, size: usize, steps: usize, seed: u64) -> Self {
        let mut all = Self::none();
        if count == 0 || size == 0 {
            return all;
        }
        let mut deal = Deal::new(count, usize::MAX, seed);
        while all.steps() < steps {
            while all.open().len() < size {
                match deal.next(all.open()) {
                    Next::Item(item) => {
                        deal.take();
                        all.items.push(item);
                    }
                    Next::Held => deal.repeat(),
                    Next::End => break,
                }
            }
            all.close();
            deal.next_batch();
        }
        all
    }

    /// How many batches `epochs` passes over `count` items that cost 1 each have.
    #[must_use]
    pub fn steps_of(count: usize, size: usize, epochs: usize) -> usize {
        match size.min(count) {
            0 => 0,
            size => (count * epochs).div_ceil(size),
        }
    }

    fn none() -> Self {
        Self {
            items: Vec::new(),
            ends: Vec::new(),
            last: 1.0,
        }
    }

    /// The batch that is being filled.
    fn open(&self) -> &[usize] {
        &self.items[self.ends.last().copied().unwrap_or(0)..]
    }

    fn close(&mut self) {
        self.ends.push(self.items.len());
    }

    /// How many batches there are, over all passes.
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

    /// What the batch of a step weighs beside a full one, in (0, 1]: 1 of all but the last, and there
    /// its cost over that of a full batch (the mean of the others), so that an item of it counts no more
    /// than one of any other.
    #[must_use]
    pub fn share(&self, step: usize) -> f64 {
        if step + 1 == self.steps() {
            self.last
        } else {
            1.0
        }
    }
}

/// What can be added to a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Item(usize),
    /// All that is left of the pass is in the batch already.
    Held,
    /// No pass is left.
    End,
}

/// Hands out the items of one pass after another.
struct Deal {
    count: usize,
    seed: u64,
    /// Passes begun, and all.
    pass: usize,
    passes: usize,
    /// What is left of the pass, in order, less what waits.
    left: VecDeque<usize>,
    /// What the batch had taken when its first pass ended.
    held: HashSet<usize>,
    /// Whether the batch takes that again, for the rest of the pass.
    repeats: bool,
    /// Items that the batch holds already, in order: the first ones of the next batch.
    waiting: Vec<usize>,
}

impl Deal {
    fn new(count: usize, passes: usize, seed: u64) -> Self {
        Self {
            count,
            seed,
            pass: 0,
            passes: if count == 0 { 0 } else { passes },
            left: VecDeque::new(),
            held: HashSet::new(),
            repeats: false,
            waiting: Vec::new(),
        }
    }

    /// What can be added next to the batch that has these items.
    fn next(&mut self, batch: &[usize]) -> Next {
        loop {
            while let Some(&item) = self.left.front() {
                if self.repeats || !self.held.contains(&item) {
                    return Next::Item(item);
                }
                self.waiting.push(item);
                self.left.pop_front();
            }
            if !self.waiting.is_empty() {
                return Next::Held;
            }
            if self.pass == self.passes {
                return Next::End;
            }
            let mut order: Vec<usize> = (0..self.count).collect();
            Rng::new(self.seed, Stream::Shuffle, self.pass as u64, 0).shuffle(&mut order);
            self.pass += 1;
            self.left = order.into();
            self.repeats = false;
            if self.held.is_empty() {
                self.held.extend(batch);
            }
        }
    }

    /// Takes the item that came next.
    fn take(&mut self) {
        self.left.pop_front();
    }

    /// Lets the batch take what it holds already, for the rest of the pass.
    fn repeat(&mut self) {
        self.repeats = true;
        self.left = std::mem::take(&mut self.waiting).into();
    }

    fn next_batch(&mut self) {
        self.held.clear();
        self.repeats = false;
        for item in self.waiting.drain(..).rev() {
            self.left.push_front(item);
        }
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

/// The batches of all passes over one rollout: its `items` cut into parts, drawn anew in each pass. Parts are
/// of one size where their number divides that of the items, and differ by one item at most elsewhere; `part` makes a batch of some of them. One mini-batch a pass is `whole` in its
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

    fn sizes(epochs: &Epochs) -> Vec<usize> {
        (0..epochs.steps()).map(|n| epochs.items(n).len()).collect()
    }

    fn in_order(epochs: &Epochs) -> Vec<usize> {
        let steps = 0..epochs.steps();
        steps.flat_map(|n| epochs.items(n).to_vec()).collect()
    }

    fn twice(batch: &[usize]) -> bool {
        let distinct: HashSet<_> = batch.iter().collect();
        distinct.len() < batch.len()
    }

    #[test]
    fn each_pass_takes_each_item_once_and_no_batch_one_twice() {
        for (count, size, passes) in [(10, 4, 3), (200, 64, 7), (5, 4, 9), (7, 7, 2), (6, 1, 2)] {
            for seed in 0..20 {
                let epochs = Epochs::new(&vec![1; count], size, passes, seed);
                let all = in_order(&epochs);
                for item in 0..count {
                    let times = all.iter().filter(|other| **other == item).count();
                    assert_eq!(times, passes, "{item} of {count}");
                }
                // A pass is not spread: after n passes' worth of items, each was taken n times, but for
                // those of one batch.
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
                assert!((0..=full).all(|step| !twice(epochs.items(step))));
                assert_eq!(epochs, Epochs::new(&vec![1; count], size, passes, seed));
            }
        }
        let of = |seed| in_order(&Epochs::new(&[1; 10], 5, 2, seed));
        assert_ne!(of(7), of(8));
        assert_ne!(of(7)[..10], of(7)[10..]);
    }

    #[test]
    fn the_last_batch_has_what_is_left_and_weighs_as_much() {
        let epochs = Epochs::new(&[1; 10], 4, 3, 7);
        assert_eq!(sizes(&epochs), [4, 4, 4, 4, 4, 4, 4, 2]);
        let shares: Vec<_> = (0..8).map(|step| epochs.share(step)).collect();
        assert_eq!(shares, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5]);
        let even = Epochs::new(&[1; 8], 4, 1, 7);
        assert_eq!((sizes(&even), even.share(1)), (vec![4, 4], 1.0));
    }

    #[test]
    fn where_a_batch_has_room_for_all_it_is_a_pass() {
        let epochs = Epochs::new(&[1; 3], 16, 4, 7);
        assert_eq!(sizes(&epochs), [3; 4]);
        assert_eq!(
            (Epochs::steps_of(3, 16, 4), Epochs::steps_of(0, 16, 4)),
            (4, 0)
        );
        assert!((0..4).all(|step| epochs.share(step) == 1.0 && !twice(epochs.items(step))));
    }

    #[test]
    fn a_batch_is_full_when_the_next_item_does_not_fit() {
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
                assert!(!items.is_empty() && !twice(items));
                done += items.len();
                // What comes next did not fit, wherever a pass ends.
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
    fn iterations_are_of_one_size_however_many_prompts_there_are() {
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
            // Nor over the whole run.
            let order = in_order(&all);
            let times: Vec<usize> = (0..count)
                .map(|item| order.iter().filter(|i| **i == item).count())
                .collect();
            let (most, least) = (times.iter().max().unwrap(), times.iter().min().unwrap());
            assert!(most - least <= 1, "{count} at {size}: {times:?}");
        }
        // The first steps do not depend on how many there are.
        let (few, many) = (Epochs::filled(9, 4, 3, 1), Epochs::filled(9, 4, 30, 1));
        assert_eq!(in_order(&few), in_order(&many)[..12]);
        assert_eq!(Epochs::filled(0, 4, 3, 1).steps(), 0);
    }
}
