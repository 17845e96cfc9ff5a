//! Tokenizes the text of prompts and responses again, with the tokenizer of a reward model.

use crate::eos_replacement::EosReplacement;
use crate::{Error, Result};
use rlhf_lm::{Tokenizer, inspect};
use rlhf_objective::{Error as Failure, Finish, Prompt, Response, Sequences};
use std::path::Path;
use std::sync::Arc;

/// Converts sequences to the tokens of another checkpoint.
#[derive(Debug)]
pub(crate) struct Retokenizer {
    tokenizer: Tokenizer,
    eos: Option<u32>,
    bos: Option<u32>,
    context: usize,
}

/// The conversion of a policy's sequences for a reward model.
#[derive(Debug)]
pub(crate) enum Conversion {
    /// The token ids are the same; the EOS token is replaced.
    Ids(EosReplacement),
    /// The text is tokenized again.
    Texts(Retokenizer),
}

impl Retokenizer {
    /// The conversion that the reward model in `folder` needs for a policy with this tokenizer. If the token
    /// ids are the same, only the EOS token is replaced.
    ///
    /// # Errors
    /// If the folder cannot be read, or the tokenizers differ and one of the two models has none.
    pub(crate) fn conversion(folder: &Path, policy: &Tokenizer) -> Result<Conversion> {
        let wrap = |error| Error::Model(Box::new(error));
        let summary = inspect(folder).map_err(wrap)?;
        let tokenizer = Tokenizer::load(folder, summary.vocab).map_err(wrap)?;
        if tokenizer.same_ids(policy) {
            return Ok(Conversion::Ids(EosReplacement::new(tokenizer, &summary)));
        }
        if tokenizer.is_ids() || policy.is_ids() {
            let whose = if policy.is_ids() { "the model" } else { "it" };
            return Err(Error::Rule(format!(
                "the reward model {} has another vocabulary than the model, and {whose} has no \
                 tokenizer to read texts with",
                folder.display()
            )));
        }
        Ok(Conversion::Texts(Self {
            tokenizer,
            eos: summary.eos,
            bos: summary.bos,
            context: summary.context,
        }))
    }

    /// The same texts in the tokens of the reward model. If prompt and response are longer than the context,
    /// the start of the prompt and the end of the response are cut off. An EOS is kept.
    ///
    /// # Errors
    /// If a text cannot be encoded, or a response has no tokens.
    pub(crate) fn apply(&self, sequences: &Sequences) -> rlhf_objective::Result<Sequences> {
        let mut responses = Vec::with_capacity(sequences.len());
        let mut longest = vec![1; sequences.prompts().len()];
        for (index, response) in sequences.responses().iter().enumerate() {
            let continuing = self.tokenizer.encode_continuing(&response.text);
            let mut ids = continuing.map_err(Failure::other)?;
            if response.finish == Finish::Eos || ids.is_empty() {
                ids.extend(self.eos);
            }
            if ids.is_empty() {
                return Err(Failure::Empty(format!(
                    "response {index} has no text, and the reward model has no EOS to read instead"
                )));
            }
            ids.truncate((self.context - 1).max(1));
            longest[response.prompt] = ids.len().max(longest[response.prompt]);
            responses.push(Arc::new(Response {
                ids,
                ..Response::clone(response)
            }));
        }
        let prompts = sequences
            .prompts()
            .iter()
            .zip(longest)
            .map(|(prompt, longest)| {
                let mut ids = self.encode(&prompt.text)?;
                if ids.is_empty() {
                    ids.extend(self.bos.or(self.eos));
                }
                let keep = self.context.saturating_sub(longest).max(1);
                ids.drain(..ids.len().saturating_sub(keep));
                Ok(Arc::new(Prompt {
                    ids,
                    ..Prompt::clone(prompt)
                }))
            });
        let prompts = prompts.collect::<rlhf_objective::Result<_>>()?;
        Sequences::from_shared(prompts, responses)
    }

    fn encode(&self, text: &str) -> rlhf_objective::Result<Vec<u32>> {
        self.tokenizer.encode(text).map_err(Failure::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tokenizer that maps these words to ids from 0.
    fn tokenizer(words: &[&str]) -> Tokenizer {
        let folder = tempfile::tempdir().unwrap();
        let vocab: serde_json::Map<_, _> = words
            .iter()
            .enumerate()
            .map(|(id, word)| ((*word).to_string(), id.into()))
            .collect();
        let file = serde_json::json!({
            "version": "1.0",
            "added_tokens": [],
            "pre_tokenizer": {"type": "WhitespaceSplit"},
            "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "?"},
        });
        std::fs::write(folder.path().join("tokenizer.json"), file.to_string()).unwrap();
        Tokenizer::load(folder.path(), 20).unwrap()
    }

    fn response(prompt: usize, text: &str, finish: Finish) -> Response {
        Response {
            text: text.into(),
            ..Response::new(prompt, vec![0], finish)
        }
    }

    #[test]
    fn texts_are_tokenized_again_and_cut_to_the_context() {
        let by = Retokenizer {
            tokenizer: tokenizer(&["?", "the", "film", "was", "good", "bad"]),
            eos: Some(9),
            bos: Some(8),
            context: 6,
        };
        let prompt = |text: &str| Prompt {
            text: text.into(),
            ..Prompt::from_ids(vec![0, 1])
        };
        let prompts = vec![
            prompt("the film was"),
            prompt(""),
            prompt("the the the film was"),
        ];
        let responses = vec![
            response(0, "good", Finish::Eos),
            response(0, "bad good", Finish::Length),
            response(1, "", Finish::Length),
            response(2, "bad bad", Finish::Eos),
            response(1, "good good good good good good", Finish::Eos),
        ];
        let read = by
            .apply(&Sequences::new(prompts, responses).unwrap())
            .unwrap();
        let ids: Vec<&[u32]> = read.responses().iter().map(|y| y.ids.as_slice()).collect();
        let long = [4; 5];
        assert_eq!(ids, [&[4, 9][..], &[5, 4], &[9], &[5, 5, 9], &long]);
        let prompts: Vec<&[u32]> = read.prompts().iter().map(|x| x.ids.as_slice()).collect();
        assert_eq!(prompts, [&[1, 2, 3][..], &[8], &[1, 2, 3]]);
        assert_eq!(read.responses()[1].prompt, 0);
    }

    #[test]
    fn same_ids_compares_the_vocabularies() {
        let own = tokenizer(&["?", "a", "b"]);
        assert!(own.same_ids(&tokenizer(&["?", "a", "b"])));
        assert!(!own.same_ids(&tokenizer(&["?", "b", "a"])));
        let none = tempfile::tempdir().unwrap();
        let ids = |vocab| Tokenizer::load(none.path(), vocab).unwrap();
        assert!(ids(20).same_ids(&ids(20)) && !ids(20).same_ids(&ids(21)));
    }
}
