//! Groups the rows of a dataset by distinct prompt.

use rlhf_objective::Prompt;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// The distinct prompts of the rows of a dataset; prompts are equal where their tokens are. Intervals
/// count a prompt that is listed in eight rows once, because its responses are not independent of
/// each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DistinctPrompts {
    prompt_of_row: Vec<usize>,
    rows: Vec<usize>,
}

impl DistinctPrompts {
    /// Groups the prompts of rows; distinct prompts are numbered in order of first appearance.
    #[must_use]
    pub fn new(prompts: &[Arc<Prompt>]) -> Self {
        let mut numbers: HashMap<&[u32], usize> = HashMap::new();
        let mut prompt_of_row = Vec::with_capacity(prompts.len());
        let mut rows = Vec::new();
        for prompt in prompts {
            let number = *numbers.entry(&prompt.ids).or_insert(rows.len());
            if number == rows.len() {
                rows.push(0);
            }
            rows[number] += 1;
            prompt_of_row.push(number);
        }
        Self {
            prompt_of_row,
            rows,
        }
    }

    /// The number of the distinct prompt of each row.
    #[must_use]
    pub fn prompt_of_row(&self) -> &[usize] {
        &self.prompt_of_row
    }

    /// The number of rows of each distinct prompt.
    #[must_use]
    pub fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// The number of distinct prompts.
    #[must_use]
    pub fn count(&self) -> usize {
        self.rows.len()
    }
}

/// "32 prompts", or "4 distinct prompts in 32 rows".
impl fmt::Display for DistinctPrompts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.count() == 1 { "" } else { "s" };
        let (prompts, rows) = (self.count(), self.prompt_of_row.len());
        if prompts == rows {
            write!(f, "{prompts} prompt{s}")
        } else {
            write!(f, "{prompts} distinct prompt{s} in {rows} rows")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_with_equal_tokens_are_grouped() {
        let prompts = [&[1, 2][..], &[3], &[1, 2], &[1]];
        let prompts: Vec<_> = prompts
            .iter()
            .map(|ids| Arc::new(Prompt::from_ids(ids.to_vec())))
            .collect();
        let distinct = DistinctPrompts::new(&prompts);
        assert_eq!(distinct.prompt_of_row(), [0, 1, 0, 2]);
        assert_eq!((distinct.rows(), distinct.count()), (&[2, 1, 1][..], 3));
        assert_eq!(distinct.to_string(), "3 distinct prompts in 4 rows");
        assert_eq!(DistinctPrompts::new(&prompts[..1]).to_string(), "1 prompt");
    }
}
