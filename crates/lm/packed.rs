//! A ragged batch as a network reads it: flat tokens in segments, each distinct prompt once.

use crate::{Error, Result};
use rlhf_objective::Sequences;
use std::ops::Range;

/// A run of consecutive tokens. It attends to itself causally and to all of its parent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Its rows among the packed tokens.
    pub range: Range<usize>,
    /// The segment it continues, which comes before it.
    pub parent: Option<usize>,
    /// The position of its first token.
    pub first_position: usize,
}

/// A packed batch of n tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packed {
    /// The tokens, \[n\].
    pub tokens: Vec<u32>,
    /// Their positions, \[n\].
    pub positions: Vec<u32>,
    /// The segments, in order, covering all tokens; empty ones are left out.
    pub segments: Vec<Segment>,
    /// For each of the N response tokens, the row that predicts it.
    pub rows: Vec<usize>,
    /// The response tokens, \[N\].
    pub targets: Vec<u32>,
}

impl Packed {
    /// Packs a batch. Each prompt is a segment; each response one more, of all its tokens but the
    /// last, which predicts nothing. A prompt's last row predicts the first token of every response
    /// to it.
    ///
    /// # Errors
    /// If a token is not below `vocab`, or a prompt with a response does not fit in `context`.
    pub fn new(sequences: &Sequences, vocab: usize, context: usize) -> Result<Self> {
        let mut packed = Self::empty();
        let mut segment_of = vec![None; sequences.prompts().len()];
        for (index, response) in sequences.responses().iter().enumerate() {
            let prompt = &sequences.prompts()[response.prompt].ids;
            check(index, prompt, &response.ids, vocab, context)?;
            let parent =
                *segment_of[response.prompt].get_or_insert_with(|| packed.push(prompt, None, 0));
            packed.rows.push(packed.segments[parent].range.end - 1);
            let read = &response.ids[..response.ids.len() - 1];
            if !read.is_empty() {
                let segment = packed.push(read, Some(parent), prompt.len());
                packed.rows.extend(packed.segments[segment].range.clone());
            }
            packed.targets.extend(&response.ids);
        }
        Ok(packed)
    }

    /// Packs whole histories, one segment each, to predict the token after each of them: what a
    /// decoder reads at its start.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn histories(rows: &[Vec<u32>], vocab: usize, context: usize) -> Result<Self> {
        let mut packed = Self::empty();
        for (index, row) in rows.iter().enumerate() {
            check(index, row, &[], vocab, context)?;
            let segment = packed.push(row, None, 0);
            packed.rows.push(packed.segments[segment].range.end - 1);
        }
        Ok(packed)
    }

    fn empty() -> Self {
        Self {
            tokens: Vec::new(),
            positions: Vec::new(),
            segments: Vec::new(),
            rows: Vec::new(),
            targets: Vec::new(),
        }
    }

    fn push(&mut self, tokens: &[u32], parent: Option<usize>, first_position: usize) -> usize {
        let start = self.tokens.len();
        self.tokens.extend(tokens);
        self.positions
            .extend((first_position..).take(tokens.len()).map(|p| p as u32));
        self.segments.push(Segment {
            range: start..self.tokens.len(),
            parent,
            first_position,
        });
        self.segments.len() - 1
    }

    /// The rows a segment may see before its own, if any: its parent's.
    #[must_use]
    pub fn prefix(&self, segment: &Segment) -> Range<usize> {
        segment
            .parent
            .map_or(0..0, |parent| self.segments[parent].range.clone())
    }
}

/// Checks one sequence against the network's limits.
fn check(
    index: usize,
    prompt: &[u32],
    response: &[u32],
    vocab: usize,
    context: usize,
) -> Result<()> {
    if let Some(id) = prompt
        .iter()
        .chain(response)
        .find(|id| **id as usize >= vocab)
    {
        return Err(Error::Batch(format!(
            "sequence {index}: token id {id} is not in the vocabulary of {vocab}: \
             was it made with another tokenizer?"
        )));
    }
    let read = prompt.len() + response.len().saturating_sub(1);
    if read > context {
        return Err(Error::Batch(format!(
            "sequence {index}: a prompt of {} and a response of {} tokens do not fit the context of \
             {context}: shorten one of them",
            prompt.len(),
            response.len()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlhf_objective::{Finish, Prompt, Response};

    fn sequences() -> Sequences {
        let prompts = vec![Prompt::from_ids(vec![1, 2, 3]), Prompt::from_ids(vec![4])];
        let answer = |p, ids: &[u32]| Response::new(p, ids.to_vec(), Finish::Length);
        let answers = vec![answer(0, &[5, 6]), answer(1, &[7, 8, 9]), answer(0, &[5])];
        Sequences::new(prompts, answers).unwrap()
    }

    #[test]
    fn prompts_are_read_once_and_last_tokens_never() {
        let packed = Packed::new(&sequences(), 10, 8).unwrap();
        assert_eq!(packed.tokens, [1, 2, 3, 5, 4, 7, 8]);
        assert_eq!(packed.positions, [0, 1, 2, 3, 0, 1, 2]);
        assert_eq!(packed.rows, [2, 3, 4, 5, 6, 2]);
        assert_eq!(packed.targets, [5, 6, 7, 8, 9, 5]);
        let parents: Vec<_> = packed.segments.iter().map(|s| s.parent).collect();
        assert_eq!(parents, [None, Some(0), None, Some(2)]);
        assert_eq!(packed.prefix(&packed.segments[3]), 4..5);
        assert_eq!(packed.prefix(&packed.segments[2]), 0..0);
    }

    #[test]
    fn limits_are_checked() {
        assert!(Packed::new(&sequences(), 10, 4).is_ok());
        let long = Packed::new(&sequences(), 10, 3).unwrap_err().to_string();
        assert!(
            long.contains("sequence 0") && long.contains("context of 3"),
            "{long}"
        );
        let unknown = Packed::new(&sequences(), 9, 8).unwrap_err().to_string();
        assert!(unknown.contains("sequence 1: token id 9"), "{unknown}");
    }
}
