//! A constant log-weight for every token, shared by the uniform and the counting prior.

use rlhf_objective::{Error, LogDist, PerToken, Result, Sequences};
use std::ops::Range;

/// The same log-weight, nats, for each of V tokens after any prefix.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConstantWeight {
    pub(crate) vocab: usize,
    pub(crate) log_weight: f32,
}

impl ConstantWeight {
    pub(crate) fn log_probs(self, sequences: &Sequences) -> Result<PerToken> {
        let mut tokens = sequences.responses().iter().flat_map(|y| &y.ids);
        if let Some(token) = tokens.find(|&&token| token as usize >= self.vocab) {
            return Err(Error::Unsupported(format!(
                "token {token} of a response is not in the prior's vocabulary of {}: make the prior \
                with the model's vocabulary",
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
