//! Responses that end as the texts of a reward model end.

use rlhf_lm::{Summary, Tokenizer};
use rlhf_objective::{Finish, Response, Sequences};
use std::sync::Arc;

/// Gives responses the end of a reward model with the policy's ids, where its end-of-sequence token is
/// another: it never read the policy's.
#[derive(Debug)]
pub(crate) struct Ending {
    tokenizer: Tokenizer,
    ends: Vec<u32>,
    context: usize,
}

impl Ending {
    /// Of a reward model with this tokenizer.
    pub(crate) fn new(tokenizer: Tokenizer, summary: &Summary) -> Self {
        Self {
            tokenizer,
            ends: summary.ends.iter().map(|end| end.id).collect(),
            context: summary.context,
        }
    }

    /// The same responses, of which those that ended do so with an end of the reward model; `None` where
    /// all do already.
    ///
    /// # Errors
    /// None that the sequences did not have.
    pub(crate) fn read(&self, sequences: &Sequences) -> rlhf_objective::Result<Option<Sequences>> {
        let mut changed = false;
        let mut responses = Vec::with_capacity(sequences.len());
        for response in sequences.responses() {
            let prompt = sequences.prompts()[response.prompt].ids.len();
            let own = self.ended(response, prompt);
            changed |= own.is_some();
            responses.push(own.map_or_else(|| response.clone(), Arc::new));
        }
        let sequences = || Sequences::from_shared(sequences.prompts().to_vec(), responses);
        changed.then(sequences).transpose()
    }

    /// A response behind a prompt of this many tokens, if it is to end otherwise. An end that is no part
    /// of the text makes room for the reward model's; one that is stays before it, if that fits.
    fn ended(&self, response: &Response, prompt: usize) -> Option<Response> {
        let (end, last) = (*self.ends.first()?, *response.ids.last()?);
        if response.finish != Finish::Eos || self.ends.contains(&last) {
            return None;
        }
        let mut ids = response.ids.clone();
        if self.tokenizer.decode(&[last]).is_empty() {
            ids.pop();
        } else if prompt + ids.len() >= self.context {
            return None;
        }
        ids.push(end);
        Some(Response {
            ids,
            ..response.clone()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlhf_objective::Prompt;

    /// Words, of which 8 and 9 are special, for a reward model that ends texts with 9 or 7.
    fn ending() -> Ending {
        let folder = tempfile::tempdir().unwrap();
        let special = |id: u32, text: &str| {
            serde_json::json!({"id": id, "content": text, "special": true, "lstrip": false,
                "rstrip": false, "normalized": false, "single_word": false})
        };
        let file = serde_json::json!({
            "version": "1.0",
            "added_tokens": [special(8, "<a>"), special(9, "<b>")],
            "pre_tokenizer": {"type": "WhitespaceSplit"},
            "model": {"type": "WordLevel", "unk_token": "?",
                "vocab": {"?": 0, "good": 1, ".": 2, "!": 7, "<a>": 8, "<b>": 9}},
        });
        std::fs::write(folder.path().join("tokenizer.json"), file.to_string()).unwrap();
        Ending {
            tokenizer: Tokenizer::load(folder.path(), 10).unwrap(),
            ends: vec![9, 7],
            context: 6,
        }
    }

    fn ids(responses: &[(&[u32], Finish)]) -> Option<Vec<Vec<u32>>> {
        let response = |(ids, finish): &(&[u32], Finish)| Response::new(0, ids.to_vec(), *finish);
        let responses = responses.iter().map(response).collect();
        let sequences = Sequences::new(vec![Prompt::from_ids(vec![1, 1])], responses).unwrap();
        let read = ending().read(&sequences).unwrap()?;
        Some(read.responses().iter().map(|y| y.ids.clone()).collect())
    }

    #[test]
    fn a_response_ends_as_the_reward_model_knows_it() {
        let read = ids(&[
            (&[1, 8], Finish::Eos),
            (&[8], Finish::Eos),
            (&[1, 2], Finish::Eos),
            (&[1, 1, 1, 2], Finish::Eos),
            (&[1, 8], Finish::Length),
            (&[1, 7], Finish::Eos),
        ]);
        let expected: [&[u32]; 6] = [&[1, 9], &[9], &[1, 2, 9], &[1, 1, 1, 2], &[1, 8], &[1, 7]];
        assert_eq!(read.unwrap(), expected);
    }

    #[test]
    fn responses_that_end_so_already_are_read_as_they_are() {
        assert_eq!(
            ids(&[(&[1, 9], Finish::Eos), (&[1, 2], Finish::Length)]),
            None
        );
    }
}
