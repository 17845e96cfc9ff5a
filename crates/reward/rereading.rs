//! Texts read again, by another tokenizer.

use crate::{Error, Result};
use rlhf_lm::{Tokenizer, inspect};
use rlhf_objective::{Error as Failure, Finish, Prompt, Response, Sequences};
use std::path::Path;
use std::sync::Arc;

/// Turns what a policy wrote into the tokens of another checkpoint.
#[derive(Debug)]
pub(crate) struct Rereading {
    tokenizer: Tokenizer,
    eos: Option<u32>,
    bos: Option<u32>,
    context: usize,
}

impl Rereading {
    /// What the checkpoint in `folder` needs to read the words of a policy with this tokenizer; none
    /// where its ids are the policy's.
    ///
    /// # Errors
    /// If the folder cannot be read, or texts cannot be had because one of both has no tokenizer.
    pub(crate) fn of(folder: &Path, policy: &Tokenizer) -> Result<Option<Self>> {
        let wrap = |error| Error::Model(Box::new(error));
        let summary = inspect(folder).map_err(wrap)?;
        let tokenizer = Tokenizer::load(folder, summary.vocab).map_err(wrap)?;
        if tokenizer.same_ids(policy) {
            return Ok(None);
        }
        if tokenizer.is_ids() || policy.is_ids() {
            let whose = if policy.is_ids() { "the model" } else { "it" };
            return Err(Error::Rule(format!(
                "the reward model {} has another vocabulary than the model, and {whose} has no \
                 tokenizer to read texts with",
                folder.display()
            )));
        }
        Ok(Some(Self {
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
            let mut ids = self.encode(&response.text)?;
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
