//! Which part of a conversation is learned.

use super::Reader;
use crate::encode::{Encoded, prompt_of};
use crate::item::Item;
use crate::shapes::{Said, is_assistant};
use crate::{Notes, Result, Row};
use rlhf_objective::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::ops::Range;

/// Which tokens of a conversation a demonstration is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LossOn {
    /// All of them, whoever speaks.
    #[default]
    All,
    /// What the assistant says: what the chat template holds in `{% generation %}`, or, where it has no
    /// such blocks, each turn of the role `assistant`, up to its end-of-sequence token.
    Assistant,
    /// The assistant's last turn.
    Last,
}

impl Reader {
    /// The demonstrations of a conversation of which `loss_on` says what is learned; messages before
    /// `from` never are. Each is a run of tokens with all that stands before it as its prompt, so that
    /// the log-probs are those of the whole conversation.
    pub(crate) fn turns(
        &self,
        row: &Row,
        (messages, from): (&[Value], usize),
        notes: &mut Notes,
    ) -> Result<Vec<Item>> {
        let loss_on = self.settings().loss_on;
        let marked = self.writer().chat.marks_answers() && from == 0;
        if loss_on == LossOn::Assistant && marked {
            return self.marked(row, messages, notes);
        }
        let mut turns = turns(messages, from);
        if loss_on == LossOn::Last {
            turns.drain(..turns.len().saturating_sub(1));
        }
        if turns.is_empty() {
            return Err(row.error("no turn of the role \"assistant\", which is to be learned"));
        }
        let turn = |turn: Range<usize>| {
            let prompt = Said::Chat(messages[..turn.start].to_vec());
            let answer = Said::Chat(messages[turn].to_vec());
            let written = self.writer().join(row, prompt, vec![answer])?;
            self.note_boundary(row, &written, notes)?;
            self.item(row, &written, &[("messages", 0)], notes)
        };
        turns.into_iter().map(turn).collect()
    }

    /// What the template holds in its `{% generation %}` blocks, each block a demonstration.
    fn marked(&self, row: &Row, messages: &[Value], notes: &mut Notes) -> Result<Vec<Item>> {
        let settings = self.settings();
        let vocabulary = &settings.vocabulary;
        let (text, spans) = self.writer().chat.marked(row, messages)?;
        let encoded = vocabulary.tokenizer.encode_with_places(&text);
        let (ids, places) = encoded.map_err(|error| row.error(error.to_string()))?;
        let mut items = Vec::with_capacity(spans.len());
        for span in spans.iter().filter(|span| !span.is_empty()) {
            // The first token of all has nothing before it.
            let start = places
                .partition_point(|place| place.end <= span.start)
                .max(1);
            let end = places.partition_point(|place| place.start < span.end);
            if start >= end {
                continue;
            }
            let (keep, most) = settings.limits.fit(start, end - start);
            let part = |range: Range<usize>| Encoded {
                text: vocabulary.tokenizer.decode(&ids[range.clone()]),
                ids: ids[range].to_vec(),
            };
            let mut prompt = prompt_of(row, part(0..start));
            vocabulary.cut_prompt(&mut prompt, keep, notes);
            let response: Response = vocabulary.response(part(start..end), most, notes);
            items.push(Item {
                prompt,
                responses: vec![response],
                liked: None,
            });
        }
        match items.is_empty() {
            false => Ok(items),
            true => Err(row.error(
                "the chat template holds nothing of it in {% generation %}, so that there is nothing \
                 to learn",
            )),
        }
    }
}

/// The assistant's turns from a message on: runs of messages of its role.
fn turns(messages: &[Value], from: usize) -> Vec<Range<usize>> {
    let mut turns: Vec<Range<usize>> = Vec::new();
    for (index, message) in messages.iter().enumerate().skip(from) {
        match turns.last_mut() {
            _ if !is_assistant(message) => {}
            Some(last) if last.end == index => last.end += 1,
            _ => turns.push(index..index + 1),
        }
    }
    turns
}
