//! A preference to learn, and how its items are held out and judged.

use rlhf_eval::wilson;
use rlhf_journal::Estimate;
use rlhf_tensor::{Rng, Stream};
use serde_json::Value;

/// Texts to learn a language from and pairs to learn a preference from, as rows of data files.
pub(crate) struct Task {
    pub(crate) name: &'static str,
    /// The accuracy that is asked for.
    pub(crate) required: f64,
    /// The network's context in tokens, and its width.
    pub(crate) context: usize,
    pub(crate) width: usize,
    /// Settings of both runs, and of the second.
    pub(crate) reading: &'static [&'static str],
    pub(crate) fitting: &'static [&'static str],
    pub(crate) texts: Vec<Value>,
    pub(crate) pairs: Vec<Value>,
    pub(crate) held_out: Vec<Value>,
    /// What else is to be had on the held-out pairs.
    pub(crate) beside: Value,
}

/// Items to learn from and items held out: one of `parts` parts. The first `parts` seeds hold out
/// different ones, so what is counted on them can be added up.
pub(crate) fn fold<T>(items: Vec<T>, parts: u64, seed: u64) -> (Vec<T>, Vec<T>) {
    let (round, part) = ((seed - 1) / parts, (seed - 1) % parts);
    let mut order: Vec<u64> = (0..items.len() as u64).collect();
    Rng::new(round, Stream::Data, 0, 0).shuffle(&mut order);
    let mut sides = (Vec::new(), Vec::new());
    for (item, place) in items.into_iter().zip(order) {
        let side = match place % parts == part {
            true => &mut sides.1,
            false => &mut sides.0,
        };
        side.push(item);
    }
    sides
}

/// The better text and the worse.
pub(crate) type Pair<'a> = (&'a str, &'a str);

/// How often the better text has the higher value; a tie is half a hit.
pub(crate) fn accuracy(pairs: &[Pair<'_>], value: impl Fn(&str) -> f64) -> Estimate {
    let hit = |(better, worse): &Pair<'_>| match value(better).total_cmp(&value(worse)) {
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
    fn seeds_hold_out_different_parts() {
        let mut all: Vec<u32> = Vec::new();
        for seed in 1..=5 {
            let (train, held_out) = fold((0..103).collect(), 5, seed);
            assert_eq!(train.len() + held_out.len(), 103);
            assert!(held_out.iter().all(|item| !train.contains(item)));
            all.extend(held_out);
        }
        all.sort_unstable();
        assert_eq!(all, (0..103).collect::<Vec<_>>());
    }
}
