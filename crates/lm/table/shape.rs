//! Which states a table has, and where tokens lead from them.

use serde::{Deserialize, Serialize};

/// In [`TableConfig::next`]: the response is complete.
pub(super) const COMPLETE: u32 = u32::MAX;

/// What a table has a row for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum States {
    /// Each incomplete response of at most this many tokens, breadth first, tokens in order: the
    /// empty one is row 0. The prompt is not looked at, so there is one problem a table.
    Prefixes(usize),
    /// Each token, as the one before; of the prompt to begin with.
    LastToken,
}

/// The shape of a [`Table`](super::Table).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableConfig {
    /// V.
    pub vocab_size: usize,
    /// The token that ends a response, if one does.
    pub eos_token_id: Option<u32>,
    /// What there is a row for.
    pub states: States,
    /// The longest prompt and response together, in tokens.
    pub n_positions: usize,
}

impl TableConfig {
    /// Over every response of at most `horizon` tokens to a prompt of one token.
    #[must_use]
    pub const fn prefixes(vocab: usize, eos: Option<u32>, horizon: usize) -> Self {
        Self {
            vocab_size: vocab,
            eos_token_id: eos,
            states: States::Prefixes(horizon),
            n_positions: horizon,
        }
    }

    /// The state that each token leads to from each state: [states × V].
    pub(super) fn next(&self) -> Vec<u32> {
        let tokens = 0..self.vocab_size as u32;
        let States::Prefixes(horizon) = self.states else {
            return tokens.clone().flat_map(|_| tokens.clone()).collect();
        };
        let (mut next, mut depths, mut state) = (Vec::new(), vec![0], 0);
        while state < depths.len() {
            let depth = depths[state] + 1;
            for token in tokens.clone() {
                if Some(token) == self.eos_token_id || depth == horizon {
                    next.push(COMPLETE);
                } else {
                    next.push(depths.len() as u32);
                    depths.push(depth);
                }
            }
            state += 1;
        }
        next
    }
}
