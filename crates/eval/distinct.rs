//! Rows that give the same prompt are one prompt.

use rlhf_objective::Prompt;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Which rows give the same prompt: those whose prompts have the same tokens. A prompt that a file lists
/// eight times is one prompt with eight times the responses, and says as much about others as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distinct {
    of_row: Vec<usize>,
    rows: Vec<usize>,
}

impl Distinct {
    /// Of the prompts of rows; distinct ones are numbered in the order in which they are met.
    #[must_use]
    pub fn of(prompts: &[Arc<Prompt>]) -> Self {
        let mut numbers: HashMap<&[u32], usize> = HashMap::new();
        let mut of_row = Vec::with_capacity(prompts.len());
        let mut rows = Vec::new();
        for prompt in prompts {
            let number = *numbers.entry(&prompt.ids).or_insert(rows.len());
            if number == rows.len() {
                rows.push(0);
            }
            rows[number] += 1;
            of_row.push(number);
        }
        Self { of_row, rows }
    }

    /// Which distinct prompt each row gives.
    #[must_use]
    pub fn of_row(&self) -> &[usize] {
        &self.of_row
    }

    /// How many rows give each distinct prompt.
    #[must_use]
    pub fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// How many distinct prompts there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.rows.len()
    }
}

/// "32 prompts", or "4 distinct prompts in 32 rows".
impl fmt::Display for Distinct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.count() == 1 { "" } else { "s" };
        match self.count() == self.of_row.len() {
            true => write!(f, "{} prompt{s}", self.count()),
            false => {
                let (prompts, rows) = (self.count(), self.of_row.len());
                write!(f, "{prompts} distinct prompt{s} in {rows} rows")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_tokens_are_the_same_prompt() {
        let prompts = [&[1, 2][..], &[3], &[1, 2], &[1]];
        let prompts: Vec<_> = prompts
            .iter()
            .map(|ids| Arc::new(Prompt::from_ids(ids.to_vec())))
            .collect();
        let distinct = Distinct::of(&prompts);
        assert_eq!(distinct.of_row(), [0, 1, 0, 2]);
        assert_eq!((distinct.rows(), distinct.count()), (&[2, 1, 1][..], 3));
        assert_eq!(distinct.to_string(), "3 distinct prompts in 4 rows");
        assert_eq!(Distinct::of(&prompts[..1]).to_string(), "1 prompt");
    }
}
