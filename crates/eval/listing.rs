//! Lists all responses over a set of tokens.

use rlhf_objective::{Finish, Response};

/// All responses over a set of tokens, each ending with a stop token or at a maximum length. Their
/// probabilities sum to 1 where a network gives all other tokens probability 0.
#[derive(Clone, Copy)]
pub struct Listing<'a> {
    /// The tokens of responses, including the stop tokens.
    pub tokens: &'a [u32],
    /// The tokens that end a response.
    pub stop: &'a [u32],
    /// The maximum length, tokens.
    pub length: usize,
    /// Decodes the tokens of a response, without its stop token.
    pub decode: &'a dyn Fn(&[u32]) -> String,
}

impl Listing<'_> {
    /// The number of responses; `None` where it overflows `usize`.
    #[must_use]
    pub fn count(&self) -> Option<usize> {
        let stops = self
            .tokens
            .iter()
            .filter(|token| self.stop.contains(token))
            .count();
        let others = self.tokens.len() - stops;
        (0..self.length).try_fold(1usize, |count, _| {
            others.checked_mul(count)?.checked_add(stops)
        })
    }

    /// The responses, with prompt index 0, in lexicographic order of `tokens`.
    #[must_use]
    pub fn responses(&self) -> Vec<Response> {
        let mut all = Vec::new();
        if self.length > 0 {
            self.extend(&mut Vec::with_capacity(self.length), &mut all);
        }
        all
    }

    fn extend(&self, prefix: &mut Vec<u32>, all: &mut Vec<Response>) {
        for &token in self.tokens {
            prefix.push(token);
            let stops = self.stop.contains(&token);
            if stops || prefix.len() == self.length {
                let text = &prefix[..prefix.len() - usize::from(stops)];
                all.push(Response {
                    prompt: 0,
                    ids: prefix.clone(),
                    text: (self.decode)(text),
                    finish: if stops { Finish::Eos } else { Finish::Length },
                });
            } else {
                self.extend(prefix, all);
            }
            prefix.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlhf_oracle::Tree;

    #[test]
    fn responses_are_those_of_the_oracle_tree() {
        for (vocab, stop, length) in [(3, Some(2), 3), (3, Some(0), 4), (2, None, 5), (4, None, 1)]
        {
            let tokens: Vec<u32> = (0..vocab).collect();
            let stops: Vec<u32> = stop.into_iter().collect();
            let listing = Listing {
                tokens: &tokens,
                stop: &stops,
                length,
                decode: &|ids| format!("{ids:?}"),
            };
            let listed = listing.responses();
            assert_eq!(listing.count(), Some(listed.len()));
            let tree = Tree::new(vocab as usize, stop, length);
            let mut ids: Vec<Vec<u32>> = listed.iter().map(|y| y.ids.clone()).collect();
            let mut expected = tree.responses().to_vec();
            ids.sort();
            expected.sort();
            assert_eq!(ids, expected);
            let ends = |y: &Response| (y.finish == Finish::Eos) == (y.ids.last().copied() == stop);
            assert!(listed.iter().all(|y| ends(y) || stop.is_none()));
        }
    }

    #[test]
    fn counts_that_overflow_are_none() {
        let tokens: Vec<u32> = (0..50_257).collect();
        let mut listing = Listing {
            tokens: &tokens,
            stop: &[50_256],
            length: 64,
            decode: &|_| String::new(),
        };
        assert_eq!(listing.count(), None);
        listing.length = 2;
        assert_eq!(listing.count(), Some(50_256 * 50_257 + 1));
    }
}
