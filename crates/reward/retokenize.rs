//! Texts read again, by another tokenizer.

use crate::ending::Ending;
use crate::{Error, Result};
use rlhf_lm::{Tokenizer, inspect};
use rlhf_objective::{Error as Failure, Finish, Prompt, Response, Sequences};
use std::path::Path;
use std::sync::Arc;

/// Turns what a policy wrote into the tokens of another checkpoint.
#[derive(Debug)]
pub(crate) struct Retokenizer {
    tokenizer: Tokenizer,
    eos: Option<u32>,
    bos: Option<u32>,
    context: usize,
}

/// How a reward model reads what a policy wrote.
#[derive(Debug)]
pub(crate) enum Adapted {
    /// By the policy's ids.
    Ids(Ending),
    /// By texts, which its own tokenizer reads again.
    Texts(Retokenizer),
}

impl Retokenizer {
    /// How the checkpoint in `folder` reads the words of a policy with this tokenizer: where its ids are
    /// the policy's, it needs no more than an end of its own.
    ///
    /// # Errors
    /// If the folder cannot be read, or texts cannot be had because one of both has no tokenizer.
    pub(crate) fn of(folder: &Path, policy: &Tokenizer) -> Result<Adapted> {
        let wrap = |error| Error::Model(Box::new(error));
        let summary = inspect(folder).map_err(wrap)?;
        let tokenizer = Tokenizer::load(folder, summary.vocab).map_err(wrap)?;
        if tokenizer.same_ids(policy) {
            return Ok(Adapted::Ids(Ending::new(tokenizer, &summary)));
        }
        if tokenizer.is_ids() || policy.is_ids() {
            let whose = if policy.is_ids() { "the model" } else { "it" };
            return Err(Error::Rule(format!(
                "the reward model {} has another vocabulary than the model, and {whose} has no \
                 tokenizer to read texts with",
                folder.display()
            )));
        }
        Ok(Adapted::Texts(Self {
            tokenizer,
            eos: summary.eos,
            bos: summary.bos,
            context: summary.context,
        }))
    }

    /// The same texts in its tokens: a prompt keeps its end and a response its start where both
    /// together are too long, and a response that ended ends.
    ///
    /// # Errors
    /// If a text cannot be encoded, or nothing of it is left.
    pub(crate) fn read(&self, sequences: &Sequences) -> rlhf_objective::Result<Sequences> {
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

    /// Words to ids from 0.
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

    fn said(prompt: usize, text: &str, finish: Finish) -> Response {
        Response {
            text: text.into(),
            ..Response::new(prompt, vec![0], finish)
        }
    }

    #[test]
    fn texts_become_its_tokens_and_keep_their_prompt() {
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
            said(0, "good", Finish::Eos),
            said(0, "bad good", Finish::Length),
            said(1, "", Finish::Length),
            said(2, "bad bad", Finish::Eos),
            said(1, "good good good good good good", Finish::Eos),
        ];
        let read = by
            .read(&Sequences::new(prompts, responses).unwrap())
            .unwrap();
        let ids: Vec<&[u32]> = read.responses().iter().map(|y| y.ids.as_slice()).collect();
        let long = [4; 5];
        assert_eq!(ids, [&[4, 9][..], &[5, 4], &[9], &[5, 5, 9], &long]);
        let prompts: Vec<&[u32]> = read.prompts().iter().map(|x| x.ids.as_slice()).collect();
        assert_eq!(prompts, [&[1, 2, 3][..], &[8], &[1, 2, 3]]);
        assert_eq!(read.responses()[1].prompt, 0);
    }

    #[test]
    fn the_same_words_are_the_same_ids() {
        let own = tokenizer(&["?", "a", "b"]);
        assert!(own.same_ids(&tokenizer(&["?", "a", "b"])));
        assert!(!own.same_ids(&tokenizer(&["?", "b", "a"])));
        let none = tempfile::tempdir().unwrap();
        let ids = |vocab| Tokenizer::load(none.path(), vocab).unwrap();
        assert!(ids(20).same_ids(&ids(20)) && !ids(20).same_ids(&ids(21)));
    }
}
