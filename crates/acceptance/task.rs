//! A preference-learning task: its data, its train and held-out split, and pairwise accuracy.

use rlhf_eval::wilson;
use rlhf_journal::Estimate;
use rlhf_tensor::{Rng, Stream};
use serde_json::Value;

/// The rows of the data files of a task: texts for language modelling and preference pairs for the
/// reward model.
pub(crate) struct Task {
    pub(crate) name: &'static str,
    /// The required accuracy.
    pub(crate) required: f64,
    /// The context of the network in tokens, and its width.
    pub(crate) context: usize,
    pub(crate) width: usize,
    /// Settings of both runs, and of the reward run only.
    pub(crate) common_settings: &'static [&'static str],
    pub(crate) reward_settings: &'static [&'static str],
    pub(crate) texts: Vec<Value>,
    pub(crate) pairs: Vec<Value>,
    pub(crate) held_out: Vec<Value>,
    /// The accuracies of baselines on the held-out pairs.
    pub(crate) baselines: Value,
}

/// Splits items into a training set and a held-out set, one of `folds` folds. The first `folds` seeds
/// hold out disjoint folds, so counts over seeds can be added.
pub(crate) fn train_held_out_split<T>(items: Vec<T>, folds: u64, seed: u64) -> (Vec<T>, Vec<T>) {
    let (round, fold) = ((seed - 1) / folds, (seed - 1) % folds);
    let mut order: Vec<u64> = (0..items.len() as u64).collect();
    Rng::new(round, Stream::Data, 0, 0).shuffle(&mut order);
    let mut split = (Vec::new(), Vec::new());
    for (item, position) in items.into_iter().zip(order) {
        if position % folds == fold {
            split.1.push(item);
        } else {
            split.0.push(item);
        }
    }
    split
}

/// The chosen and the rejected text.
pub(crate) type Pair<'a> = (&'a str, &'a str);

/// The share of pairs whose chosen text has the higher value, with ties counted as one half.
pub(crate) fn accuracy(pairs: &[Pair<'_>], value: impl Fn(&str) -> f64) -> Estimate {
    let hit = |(chosen, rejected): &Pair<'_>| match value(chosen).total_cmp(&value(rejected)) {
        std::cmp::Ordering::Greater => 1.0,
        std::cmp::Ordering::Equal => 0.5,
        std::cmp::Ordering::Less => 0.0,
    };
    wilson(
        pairs.iter().map(hit).sum::<f64>() / pairs.len() as f64,
        pairs.len(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_hold_out_disjoint_folds() {
        let mut all: Vec<u32> = Vec::new();
        for seed in 1..=5 {
            let (train, held_out) = train_held_out_split((0..103).collect(), 5, seed);
            assert_eq!(train.len() + held_out.len(), 103);
            assert!(held_out.iter().all(|item| !train.contains(item)));
            all.extend(held_out);
        }
        all.sort_unstable();
        assert_eq!(all, (0..103).collect::<Vec<_>>());
    }
}
