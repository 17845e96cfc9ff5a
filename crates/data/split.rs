//! Rows to learn from and rows held out.

use rlhf_objective::Prompt;
use std::collections::BTreeMap;

/// Cuts items into those to train on and those held out, each in its order. Items of one group
/// (rows with the same prompt) stay on one side. `fraction` of the groups, rounded, is held out: at
/// least one where it is positive, and never all. `shuffle` decides which.
///
/// # Panics
/// If groups are not numbered 0, 1, 2, … without gaps.
#[must_use]
pub fn split(
    groups: &[usize],
    fraction: f64,
    shuffle: impl FnOnce(&mut [usize]),
) -> (Vec<usize>, Vec<usize>) {
    let count = groups.iter().max().map_or(0, |last| last + 1);
    let mut order: Vec<usize> = (0..count).collect();
    shuffle(&mut order);
    let held = if fraction > 0.0 {
        ((count as f64 * fraction).round() as usize).clamp(1, count.max(2) - 1)
    } else {
        0
    };
    let mut held_out = vec![false; count];
    for &group in order.iter().take(held) {
        held_out[group] = true;
    }
    let (held, train) = (0..groups.len()).partition(|&item| held_out[groups[item]]);
    (train, held)
}

/// Numbers prompts 0, 1, 2, … by their tokens: equal prompts have equal numbers.
#[must_use]
pub fn groups<'a>(prompts: impl Iterator<Item = &'a Prompt>) -> Vec<usize> {
    let mut known = BTreeMap::new();
    prompts
        .map(|prompt| {
            let next = known.len();
            *known.entry(prompt.ids.as_slice()).or_insert(next)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_stay_together() {
        let groups = [0, 1, 0, 2, 3, 2];
        let (train, held) = split(&groups, 0.5, |order| order.reverse());
        assert_eq!((train, held), (vec![0, 1, 2], vec![3, 4, 5]));
    }

    #[test]
    fn never_all_never_none() {
        let shapes = |n: usize, fraction| {
            let (train, held) = split(&(0..n).collect::<Vec<_>>(), fraction, |_| {});
            (train.len(), held.len())
        };
        assert_eq!(shapes(10, 0.0), (10, 0));
        assert_eq!(shapes(10, 0.01), (9, 1));
        assert_eq!(shapes(10, 0.2), (8, 2));
        assert_eq!(shapes(10, 1.0), (1, 9));
        assert_eq!(shapes(1, 0.5), (0, 1));
    }
}
