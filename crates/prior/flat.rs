//! The same number for every token: what the priors without a model have in common.

use rlhf_objective::{Error, LogDist, PerToken, Result, Sequences};
use std::ops::Range;

/// One log-weight, nats, for each of V tokens after any prefix.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flat {
    pub(crate) vocab: usize,
    pub(crate) log_weight: f32,
}

impl Flat {
    pub(crate) fn log_probs(self, sequences: &Sequences) -> Result<PerToken> {
        let mut tokens = sequences.responses().iter().flat_map(|y| &y.ids);
        if let Some(token) = tokens.find(|&&token| token as usize >= self.vocab) {
            return Err(Error::Unsupported(format!(
                "the prior has {} vocabulary entries, and a response has token {token}: give it the \
                 model's",
                self.vocab
            )));
        }
        let numbers = vec![self.log_weight; sequences.tokens()];
        PerToken::from_vec(numbers, sequences.offsets())
    }

    pub(crate) fn log_dist(
        self,
        sequences: &Sequences,
        rows: Range<usize>,
    ) -> Result<LogDist<'static>> {
        if rows.end > sequences.tokens() {
            return Err(Error::Size {
                what: "rows of a batch",
                expected: sequences.tokens(),
                got: rows.end,
            });
        }
        LogDist::of_log_probs(vec![self.log_weight; rows.len() * self.vocab], self.vocab)
    }
}
