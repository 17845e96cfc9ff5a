//! Prompts and their responses, the input of networks and rewards.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A prompt x.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prompt {
    /// Its tokens, at least one.
    pub ids: Vec<u32>,
    /// Its text.
    pub text: String,
    /// The other fields of the data row it came from, for rewards that need them.
    pub fields: serde_json::Map<String, serde_json::Value>,
}

impl Prompt {
    /// A prompt of tokens without text.
    #[must_use]
    pub fn from_ids(ids: Vec<u32>) -> Self {
        Self {
            ids,
            text: String::new(),
            fields: serde_json::Map::new(),
        }
    }
}

/// Why a response ended. In both cases the last token is terminal: values are not bootstrapped there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// With an end-of-sequence token, which is its last token.
    Eos,
    /// At the maximum length.
    Length,
}

/// A response y to one of the prompts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// The index of its prompt.
    pub prompt: usize,
    /// Its tokens, at least one, the EOS included if it has one.
    pub ids: Vec<u32>,
    /// Its text, without the EOS.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
}

impl Response {
    /// A response of tokens without text.
    #[must_use]
    pub fn new(prompt: usize, ids: Vec<u32>, finish: Finish) -> Self {
        Self {
            prompt,
            ids,
            text: String::new(),
            finish,
        }
    }
}

/// B responses and their prompts. Immutable.
#[derive(Debug, Clone)]
pub struct Sequences {
    id: u64,
    prompts: Vec<Arc<Prompt>>,
    responses: Vec<Arc<Response>>,
    offsets: Arc<[usize]>,
}

impl Sequences {
    /// Responses and the prompts they refer to.
    ///
    /// # Errors
    /// If a prompt or a response is empty, or a response refers to a prompt that does not exist.
    pub fn new(prompts: Vec<Prompt>, responses: Vec<Response>) -> Result<Self> {
        Self::from_shared(
            prompts.into_iter().map(Arc::new).collect(),
            responses.into_iter().map(Arc::new).collect(),
        )
    }

    /// As [`new`](Self::new), sharing prompts and responses by reference counting.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn from_shared(prompts: Vec<Arc<Prompt>>, responses: Vec<Arc<Response>>) -> Result<Self> {
        if let Some(index) = prompts.iter().position(|prompt| prompt.ids.is_empty()) {
            return Err(Error::Empty(format!(
                "prompt {index} has no tokens: start it with the checkpoint's BOS token"
            )));
        }
        let mut offsets = vec![0];
        for (index, response) in responses.iter().enumerate() {
            if response.ids.is_empty() {
                return Err(Error::Empty(format!("response {index} has no tokens")));
            }
            if response.prompt >= prompts.len() {
                return Err(Error::Size {
                    what: "index of a response's prompt",
                    expected: prompts.len(),
                    got: response.prompt,
                });
            }
            offsets.push(offsets[index] + response.ids.len());
        }
        // Identifies the batch, so that a prior does not run the same one twice.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Ok(Self {
            id,
            prompts,
            responses,
            offsets: offsets.into(),
        })
    }

    /// A number that is unique in this process; clones share it.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// B, the number of responses.
    #[must_use]
    pub fn len(&self) -> usize {
        self.responses.len()
    }

    /// Whether there are no responses.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.responses.is_empty()
    }

    /// N, the number of response tokens.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.offsets[self.len()]
    }

    /// The start of each response among the N tokens, and N: [B + 1].
    #[must_use]
    pub fn offsets(&self) -> Arc<[usize]> {
        self.offsets.clone()
    }

    /// The prompts.
    #[must_use]
    pub fn prompts(&self) -> &[Arc<Prompt>] {
        &self.prompts
    }

    /// The responses.
    #[must_use]
    pub fn responses(&self) -> &[Arc<Response>] {
        &self.responses
    }

    /// The prompt of response `index`.
    #[must_use]
    pub fn prompt_of(&self, index: usize) -> &Arc<Prompt> {
        &self.prompts[self.responses[index].prompt]
    }

    /// The responses of these indices, in this order, with the prompts they need.
    ///
    /// # Panics
    /// If an index is out of range.
    #[must_use]
    pub fn select(&self, indices: &[usize]) -> Self {
        let mut new_index = vec![usize::MAX; self.prompts.len()];
        let mut prompts = Vec::new();
        let mut responses = Vec::with_capacity(indices.len());
        for &index in indices {
            let response = &self.responses[index];
            if new_index[response.prompt] == usize::MAX {
                new_index[response.prompt] = prompts.len();
                prompts.push(self.prompts[response.prompt].clone());
            }
            let prompt = new_index[response.prompt];
            responses.push(if prompt == response.prompt {
                response.clone()
            } else {
                Arc::new(Response {
                    prompt,
                    ..Response::clone(response)
                })
            });
        }
        Self::from_shared(prompts, responses).expect("a selection of valid sequences is valid")
    }

    /// Cuts the responses into consecutive ranges of at most `tokens` network tokens each (a prompt
    /// shared by several responses counts once). It never cuts inside `group` consecutive responses or
    /// between neighbours that share a prompt. A range exceeds `tokens` only if one such unit does.
    ///
    /// # Panics
    /// If `group` is zero.
    #[must_use]
    pub fn micro_batches(&self, tokens: usize, group: usize) -> Vec<Range<usize>> {
        let mut ranges: Vec<Range<usize>> = Vec::new();
        let mut used = 0;
        for unit in self.units(group) {
            let cost = self.network_tokens(unit.clone());
            match ranges.last_mut() {
                Some(last) if used + cost <= tokens => {
                    last.end = unit.end;
                    used += cost;
                }
                _ => {
                    ranges.push(unit);
                    used = cost;
                }
            }
        }
        ranges
    }

    /// Like [`micro_batches`](Self::micro_batches), for callers that do not need consecutive ranges:
    /// first-fit decreasing (Johnson 1973), which makes fewer and fuller micro-batches. Within each, the
    /// indices of responses are sorted.
    ///
    /// # Panics
    /// If `group` is zero.
    #[must_use]
    pub fn sorted_micro_batches(&self, tokens: usize, group: usize) -> Vec<Vec<usize>> {
        let mut units = self.units(group);
        units.sort_by_key(|unit| std::cmp::Reverse(self.network_tokens(unit.clone())));
        let mut parts: Vec<(usize, Vec<usize>)> = Vec::new();
        for unit in units {
            let cost = self.network_tokens(unit.clone());
            match parts.iter_mut().find(|(used, _)| used + cost <= tokens) {
                Some((used, part)) => {
                    *used += cost;
                    part.extend(unit);
                }
                None => parts.push((cost, unit.collect())),
            }
        }
        let ascending = |(_, mut part): (usize, Vec<usize>)| {
            part.sort_unstable();
            part
        };
        parts.into_iter().map(ascending).collect()
    }

    /// Ranges of responses that stay in the same micro-batch: `group` consecutive ones, and neighbours
    /// that share a prompt.
    fn units(&self, group: usize) -> Vec<Range<usize>> {
        let mut units: Vec<Range<usize>> = Vec::new();
        let mut start = 0;
        while start < self.len() {
            let mut end = (start + group).min(self.len());
            while end < self.len() && self.responses[end].prompt == self.responses[end - 1].prompt {
                end = (end + group).min(self.len());
            }
            units.push(start..end);
            start = end;
        }
        units
    }

    /// How many tokens a forward pass over these responses processes; a prompt shared by neighbours
    /// counts once.
    #[must_use]
    pub fn network_tokens(&self, responses: Range<usize>) -> usize {
        let mut total = 0;
        let mut previous = None;
        for response in &self.responses[responses] {
            if previous != Some(response.prompt) {
                total += self.prompts[response.prompt].ids.len();
            }
            previous = Some(response.prompt);
            // The last token is predicted but is no input.
            total += response.ids.len() - 1;
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequences(prompts: &[usize], responses: &[(usize, usize)]) -> Sequences {
        let prompts = prompts
            .iter()
            .map(|&n| Prompt::from_ids(vec![0; n]))
            .collect();
        let response = |&(p, n): &(usize, usize)| Response::new(p, vec![1; n], Finish::Length);
        Sequences::new(prompts, responses.iter().map(response).collect()).unwrap()
    }

    #[test]
    fn empty_prompts_empty_responses_and_unknown_prompts_are_errors() {
        let prompt = Prompt::from_ids(vec![1]);
        let no_prompt = Sequences::new(vec![Prompt::from_ids(vec![])], vec![]).unwrap_err();
        assert!(no_prompt.to_string().contains("prompt 0"), "{no_prompt}");
        let empty = Response::new(0, vec![], Finish::Eos);
        assert!(Sequences::new(vec![prompt.clone()], vec![empty]).is_err());
        let unknown_prompt = Response::new(1, vec![1], Finish::Eos);
        assert!(Sequences::new(vec![prompt], vec![unknown_prompt]).is_err());
    }

    #[test]
    fn select_keeps_only_the_prompts_it_needs() {
        let s = sequences(&[2, 3, 4], &[(0, 1), (1, 2), (2, 3), (2, 4)]);
        let t = s.select(&[3, 1, 2]);
        assert_eq!(t.offsets().as_ref(), [0, 4, 6, 9]);
        assert_eq!(t.prompts().len(), 2);
        assert_eq!(t.prompt_of(0).ids.len(), 4);
        assert_eq!(t.prompt_of(1).ids.len(), 3);
        assert_eq!(t.responses()[2].prompt, 0);
        assert_ne!(t.id(), s.id());
    }

    #[test]
    fn micro_batches_keep_groups_whole() {
        let s = sequences(
            &[10, 10, 10],
            &[(0, 5), (0, 5), (1, 5), (1, 5), (2, 5), (2, 50)],
        );
        // A pair costs 10 + 4 + 4.
        assert_eq!(s.micro_batches(36, 2), [0..4, 4..6]);
        assert_eq!(s.micro_batches(1, 1), [0..2, 2..4, 4..6]);
        let distinct_prompts = sequences(&[1, 1, 1, 1], &[(0, 1), (1, 1), (2, 1), (3, 1)]);
        assert_eq!(distinct_prompts.micro_batches(1, 2), [0..2, 2..4]);
        assert_eq!(distinct_prompts.micro_batches(3, 1), [0..3, 3..4]);
        assert_eq!(distinct_prompts.network_tokens(0..4), 4);
    }

    #[test]
    fn sorted_micro_batches_use_first_fit_decreasing() {
        // With a prompt of one token, a response of n tokens costs 1 + (n − 1) = n tokens.
        let lengths = [3, 8, 5, 2, 7, 4];
        let responses: Vec<_> = lengths.iter().enumerate().map(|(p, &n)| (p, n)).collect();
        let s = sequences(&[1; 6], &responses);
        assert_eq!(s.sorted_micro_batches(10, 1), [[1, 3], [0, 4], [2, 5]]);
        assert_eq!(s.micro_batches(10, 1).len(), 5);
        assert_eq!(s.sorted_micro_batches(29, 1), [[0, 1, 2, 3, 4, 5]]);
        assert_eq!(s.sorted_micro_batches(1, 1).len(), 6);
        let pairs = sequences(&[1, 1], &[(0, 2), (0, 3), (1, 4), (1, 5)]);
        assert_eq!(pairs.sorted_micro_batches(1, 2), [[2, 3], [0, 1]]);
    }
}
