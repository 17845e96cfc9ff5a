//! Which prompts wait, and when they enter a running batch.

use std::collections::VecDeque;

/// Samples of a prompt that start together, so that the prompt is read once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) prompt: usize,
    /// The first of its samples.
    pub(crate) first: usize,
    pub(crate) samples: usize,
}

/// The prompts that have not entered yet, in order.
#[derive(Debug)]
pub(crate) struct BatchScheduler {
    units: VecDeque<Unit>,
    rows: usize,
}

impl BatchScheduler {
    /// All samples of so many prompts; more samples than rows start in several parts.
    pub(crate) fn new(prompts: usize, samples: usize, rows: usize) -> Self {
        let parts = |prompt| {
            let parts = (0..samples).step_by(rows);
            parts.map(move |first| Unit {
                prompt,
                first,
                samples: rows.min(samples - first),
            })
        };
        Self {
            units: (0..prompts).flat_map(parts).collect(),
            rows,
        }
    }

    /// Those who enter where so many rows are live. Prompts that enter one by one are read one by one,
    /// with all weights packed for each; so they wait until a quarter of the rows is free, or all of
    /// them fit.
    pub(crate) fn enter(&mut self, live: usize) -> Vec<Unit> {
        let free = self.rows - live;
        let company = self.rows.div_ceil(4);
        let some = self.units.iter().take(company);
        let few = some.map(|unit| unit.samples).sum::<usize>() <= free;
        let mut entering = Vec::new();
        if free < company && !few {
            return entering;
        }
        let mut taken = 0;
        while let Some(unit) = self.units.front()
            && taken + unit.samples <= free
        {
            taken += unit.samples;
            entering.extend(self.units.pop_front());
        }
        entering
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompts(units: &[Unit]) -> Vec<usize> {
        units.iter().map(|unit| unit.prompt).collect()
    }

    #[test]
    fn they_enter_in_company() {
        let mut waiting = BatchScheduler::new(24, 1, 16);
        assert_eq!(prompts(&waiting.enter(0)), (0..16).collect::<Vec<_>>());
        assert!(waiting.enter(16).is_empty());
        assert!(waiting.enter(13).is_empty());
        assert_eq!(prompts(&waiting.enter(12)), [16, 17, 18, 19]);
        assert_eq!(prompts(&waiting.enter(11)), [20, 21, 22, 23]);
        assert!(waiting.enter(0).is_empty());
        // The last of all wait for nobody.
        let mut waiting = BatchScheduler::new(17, 1, 16);
        waiting.enter(0);
        assert_eq!(prompts(&waiting.enter(15)), [16]);
    }

    #[test]
    fn samples_of_a_prompt_stay_together_where_they_fit() {
        let mut waiting = BatchScheduler::new(2, 7, 4);
        let unit = |prompt, first, samples| Unit {
            prompt,
            first,
            samples,
        };
        assert_eq!(waiting.enter(0), [unit(0, 0, 4)]);
        assert!(waiting.enter(2).is_empty());
        assert_eq!(waiting.enter(1), [unit(0, 4, 3)]);
        assert_eq!(waiting.enter(0), [unit(1, 0, 4)]);
        assert_eq!(waiting.enter(0), [unit(1, 4, 3)]);
    }
}
