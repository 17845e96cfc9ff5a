//! A ragged batch as a network reads it: flat tokens in segments, each distinct prompt once.

use crate::error::{Error, Result};
use crate::options::OutputHeads;
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
    /// The rows that are answered about: for each of the N response tokens the one that predicts it;
    /// for a reward model, the one each of the B scores is read at.
    pub rows: Vec<usize>,
    /// The response tokens, \[N\]; none for a reward model.
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
            let read = response.ids.len() - 1;
            check(index, prompt, &response.ids, read, (vocab, context))?;
            let parent =
                *segment_of[response.prompt].get_or_insert_with(|| packed.push(prompt, None, 0));
            packed.rows.push(packed.segments[parent].range.end - 1);
            let read = &response.ids[..read];
            if !read.is_empty() {
                let segment = packed.push(read, Some(parent), prompt.len());
                packed.rows.extend(packed.segments[segment].range.clone());
            }
            packed.targets.extend(&response.ids);
        }
        Ok(packed)
    }

    /// Packs a batch for a reward model. Each response is read to the token its score is read at:
    /// the last of prompt and response that is not `pad`, and the very first where all are, as
    /// transformers' sequence classification has it.
    ///
    /// # Errors
    /// As [`new`](Self::new); here the last token must fit in `context` too.
    pub fn scored(
        sequences: &Sequences,
        vocab: usize,
        context: usize,
        pad: Option<u32>,
    ) -> Result<Self> {
        let mut packed = Self::empty();
        let mut segment_of = vec![None; sequences.prompts().len()];
        for (index, response) in sequences.responses().iter().enumerate() {
            let prompt = &sequences.prompts()[response.prompt].ids;
            let told = |ids: &[u32]| ids.iter().rposition(|id| Some(*id) != pad);
            let read = told(&response.ids).map_or(0, |last| last + 1);
            check(index, prompt, &response.ids, read, (vocab, context))?;
            let parent =
                *segment_of[response.prompt].get_or_insert_with(|| packed.push(prompt, None, 0));
            let row = if read == 0 {
                packed.segments[parent].range.start + told(prompt).unwrap_or(0)
            } else {
                let ids = &response.ids[..read];
                let segment = packed.push(ids, Some(parent), prompt.len());
                packed.segments[segment].range.end - 1
            };
            packed.rows.push(row);
        }
        Ok(packed)
    }

    /// As a network with these heads reads a batch.
    pub(crate) fn of(
        sequences: &Sequences,
        (vocab, context): (usize, usize),
        heads: OutputHeads,
        pad: Option<u32>,
    ) -> Result<Self> {
        match heads {
            OutputHeads::Score => Self::scored(sequences, vocab, context, pad),
            _ => Self::new(sequences, vocab, context),
        }
    }

    /// Packs whole histories, one segment each, to predict the token after each of them: what a
    /// decoder reads at its start.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn histories(rows: &[Vec<u32>], vocab: usize, context: usize) -> Result<Self> {
        let mut packed = Self::empty();
        for (index, row) in rows.iter().enumerate() {
            check(index, row, &[], 0, (vocab, context))?;
            if row.is_empty() {
                return Err(Error::Batch(format!("history {index} has no tokens")));
            }
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

/// Checks one sequence, of whose response `read` tokens are read, against the network's limits.
fn check(
    index: usize,
    prompt: &[u32],
    response: &[u32],
    read: usize,
    (vocab, context): (usize, usize),
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
    if prompt.len() + read > context {
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
    use rlhf_tensor::{Rng, Stream};

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
    fn scores_are_read_at_the_last_token_that_is_no_pad() {
        let packed = |pad| Packed::scored(&sequences(), 10, 8, pad).unwrap();
        let whole = packed(None);
        assert_eq!(whole.tokens, [1, 2, 3, 5, 6, 4, 7, 8, 9, 5]);
        assert_eq!(whole.rows, [4, 8, 9]);
        assert_eq!(whole.positions, [0, 1, 2, 3, 4, 0, 1, 2, 3, 3]);
        assert!(whole.targets.is_empty());
        // The third response is all pad: its prompt is told.
        let padded = packed(Some(5));
        assert_eq!(padded.tokens, [1, 2, 3, 5, 6, 4, 7, 8, 9]);
        assert_eq!(padded.rows, [4, 8, 2]);
        let prompts = vec![Prompt::from_ids(vec![6, 6])];
        let answer = Response::new(0, vec![6], Finish::Eos);
        let s = Sequences::new(prompts, vec![answer]).unwrap();
        assert_eq!(Packed::scored(&s, 10, 8, Some(6)).unwrap().rows, [0]);
        assert!(Packed::scored(&sequences(), 10, 5, None).is_ok());
        assert!(Packed::scored(&sequences(), 10, 4, None).is_err());
    }

    /// Of any batch every token that predicts another is read, once, and nothing else: each prompt that has
    /// a response whole, each response but for its last token. So a network reads as many rows as there are
    /// such tokens, whatever the lengths.
    #[test]
    fn nothing_is_padded() {
        for seed in 0..200 {
            let mut rng = Rng::new(seed, Stream::Data, 0, 0);
            let mut ids = |most| -> Vec<u32> {
                let length = 1 + rng.below(most);
                (0..length).map(|_| rng.below(9) as u32).collect()
            };
            let prompts: Vec<_> = (0..5).map(|_| Prompt::from_ids(ids(12))).collect();
            let answers: Vec<_> = (0..9).map(|_| (ids(5)[0] as usize % 5, ids(20))).collect();
            let answers = answers
                .into_iter()
                .map(|(p, ids)| Response::new(p, ids, Finish::Length));
            let s = Sequences::new(prompts, answers.collect()).unwrap();
            let packed = Packed::new(&s, 9, 32).unwrap();

            let answered = |p: &usize| s.responses().iter().any(|y| y.prompt == *p);
            let of_prompts = (0..5).filter(answered).map(|p| s.prompts()[p].ids.clone());
            let of_responses = s
                .responses()
                .iter()
                .map(|y| y.ids[..y.ids.len() - 1].to_vec());
            let read: Vec<Vec<u32>> = of_prompts.chain(of_responses).collect();
            let rows: usize = read.iter().map(Vec::len).sum();
            assert_eq!((packed.tokens.len(), packed.positions.len()), (rows, rows));
            // The segments cover the rows, and hold these tokens.
            let mut end = 0;
            let mut held: Vec<Vec<u32>> = Vec::new();
            for segment in &packed.segments {
                assert_eq!(segment.range.start, end);
                end = segment.range.end;
                held.push(packed.tokens[segment.range.clone()].to_vec());
            }
            assert_eq!(end, rows);
            let mut read: Vec<_> = read.into_iter().filter(|ids| !ids.is_empty()).collect();
            read.sort();
            held.sort();
            assert_eq!(held, read);
            // One answer a response token, at the row that reads the token before it.
            assert_eq!(
                (packed.rows.len(), packed.targets.len()),
                (s.tokens(), s.tokens())
            );
            let mut at = 0;
            for (index, y) in s.responses().iter().enumerate() {
                for (t, target) in y.ids.iter().enumerate() {
                    let before = match t {
                        0 => *s.prompt_of(index).ids.last().unwrap(),
                        t => y.ids[t - 1],
                    };
                    assert_eq!(packed.tokens[packed.rows[at]], before);
                    assert_eq!(packed.targets[at], *target);
                    at += 1;
                }
            }
        }
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
