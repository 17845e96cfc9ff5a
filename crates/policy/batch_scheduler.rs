//! Continuous batching: decides when waiting prompts start in a running batch.

use std::collections::VecDeque;

/// Samples of a prompt that start together, so that the forward pass over the prompt runs once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) prompt: usize,
    /// The index of the first sample.
    pub(crate) first: usize,
    pub(crate) samples: usize,
}

/// The prompts that have not started yet, in order.
#[derive(Debug)]
pub(crate) struct BatchScheduler {
    units: VecDeque<Unit>,
    rows: usize,
}

impl BatchScheduler {
    /// Schedules `samples` samples of each prompt. If there are more samples than rows, they start in
    /// several units.
    pub(crate) fn new(prompts: usize, samples: usize, rows: usize) -> Self {
        let units = |prompt| {
            let firsts = (0..samples).step_by(rows);
            firsts.map(move |first| Unit {
                prompt,
                first,
                samples: rows.min(samples - first),
            })
        };
        Self {
            units: (0..prompts).flat_map(units).collect(),
            rows,
        }
    }

    /// The units that start now, if `live` rows are in use. Every start costs a forward pass in which all
    /// weights are packed, so prompts wait until a quarter of the rows is free, or all of them fit.
    pub(crate) fn start(&mut self, live: usize) -> Vec<Unit> {
        let free = self.rows - live;
        let min_free = self.rows.div_ceil(4);
        let next = self.units.iter().take(min_free);
        let all_fit = next.map(|unit| unit.samples).sum::<usize>() <= free;
        let mut starting = Vec::new();
        if free < min_free && !all_fit {
            return starting;
        }
        let mut taken = 0;
        while let Some(unit) = self.units.front()
            && taken + unit.samples <= free
        {
            taken += unit.samples;
            starting.extend(self.units.pop_front());
        }
        starting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompts(units: &[Unit]) -> Vec<usize> {
        units.iter().map(|unit| unit.prompt).collect()
    }

    #[test]
    fn prompts_start_when_a_quarter_of_the_rows_is_free() {
        let mut scheduler = BatchScheduler::new(24, 1, 16);
        assert_eq!(prompts(&scheduler.start(0)), (0..16).collect::<Vec<_>>());
        assert!(scheduler.start(16).is_empty());
        assert!(scheduler.start(13).is_empty());
        assert_eq!(prompts(&scheduler.start(12)), [16, 17, 18, 19]);
        assert_eq!(prompts(&scheduler.start(11)), [20, 21, 22, 23]);
        assert!(scheduler.start(0).is_empty());
        // The last prompts start as soon as they fit.
        let mut scheduler = BatchScheduler::new(17, 1, 16);
        scheduler.start(0);
        assert_eq!(prompts(&scheduler.start(15)), [16]);
    }

    #[test]
    fn samples_of_a_prompt_start_together_if_they_fit() {
        let mut scheduler = BatchScheduler::new(2, 7, 4);
        let unit = |prompt, first, samples| Unit {
            prompt,
            first,
            samples,
        };
        assert_eq!(scheduler.start(0), [unit(0, 0, 4)]);
        assert!(scheduler.start(2).is_empty());
        assert_eq!(scheduler.start(1), [unit(0, 4, 3)]);
        assert_eq!(scheduler.start(0), [unit(1, 0, 4)]);
        assert_eq!(scheduler.start(0), [unit(1, 4, 3)]);
    }
}
