//! Replaces the policy's EOS token by that of a reward model with the same token ids.

use rlhf_lm::{Summary, Tokenizer};
use rlhf_objective::{Finish, Response, Sequences};
use std::sync::Arc;

/// Replaces the EOS token of responses for a reward model that has the policy's token ids but was trained
/// with another EOS token.
#[derive(Debug)]
pub(crate) struct EosReplacement {
    tokenizer: Tokenizer,
    /// The EOS tokens of the reward model.
    eos: Vec<u32>,
    context: usize,
}

impl EosReplacement {
    /// For a reward model with this tokenizer.
    pub(crate) fn new(tokenizer: Tokenizer, summary: &Summary) -> Self {
        Self {
            tokenizer,
            eos: summary.ends.iter().map(|end| end.id).collect(),
            context: summary.context,
        }
    }

    /// The same responses with the reward model's EOS token at the end of those that end with an EOS; `None`
    /// if nothing changes.
    ///
    /// # Errors
    /// Never for valid sequences.
    pub(crate) fn apply(&self, sequences: &Sequences) -> rlhf_objective::Result<Option<Sequences>> {
        let mut changed = false;
        let mut responses = Vec::with_capacity(sequences.len());
        for response in sequences.responses() {
            let prompt = sequences.prompts()[response.prompt].ids.len();
            let replaced = self.replace(response, prompt);
            changed |= replaced.is_some();
            responses.push(replaced.map_or_else(|| response.clone(), Arc::new));
        }
        let sequences = || Sequences::from_shared(sequences.prompts().to_vec(), responses);
        changed.then(sequences).transpose()
    }

    /// A response to a prompt of `prompt` tokens, if it must change. An EOS token without text is replaced;
    /// after one that is part of the text the reward model's is appended, if the context has room.
    fn replace(&self, response: &Response, prompt: usize) -> Option<Response> {
        let (end, last) = (*self.eos.first()?, *response.ids.last()?);
        if response.finish != Finish::Eos || self.eos.contains(&last) {
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

    /// A tokenizer of words with the special tokens 8 and 9, and a reward model with the EOS tokens 9 and 7.
    fn ending() -> EosReplacement {
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
        EosReplacement {
            tokenizer: Tokenizer::load(folder.path(), 10).unwrap(),
            eos: vec![9, 7],
            context: 6,
        }
    }

    fn ids(responses: &[(&[u32], Finish)]) -> Option<Vec<Vec<u32>>> {
        let response = |(ids, finish): &(&[u32], Finish)| Response::new(0, ids.to_vec(), *finish);
        let responses = responses.iter().map(response).collect();
        let sequences = Sequences::new(vec![Prompt::from_ids(vec![1, 1])], responses).unwrap();
        let replaced = ending().apply(&sequences).unwrap()?;
        Some(replaced.responses().iter().map(|y| y.ids.clone()).collect())
    }

    #[test]
    fn responses_end_with_an_eos_of_the_reward_model() {
        let replaced = ids(&[
            (&[1, 8], Finish::Eos),
            (&[8], Finish::Eos),
            (&[1, 2], Finish::Eos),
            (&[1, 1, 1, 2], Finish::Eos),
            (&[1, 8], Finish::Length),
            (&[1, 7], Finish::Eos),
        ]);
        let expected: [&[u32]; 6] = [&[1, 9], &[9], &[1, 2, 9], &[1, 1, 1, 2], &[1, 8], &[1, 7]];
        assert_eq!(replaced.unwrap(), expected);
    }

    #[test]
    fn responses_with_the_right_eos_are_unchanged() {
        assert_eq!(
            ids(&[(&[1, 9], Finish::Eos), (&[1, 2], Finish::Length)]),
            None
        );
    }
}
