//! Selects the part of a conversation that is trained on.

use super::Reader;
use crate::encode::{Encoded, prompt_of};
use crate::item::Item;
use crate::shapes::{FieldValue, is_assistant};
use crate::{Notes, Result, Row};
use rlhf_objective::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::ops::Range;

/// Which tokens of a conversation the loss covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LossOn {
    /// All tokens of all roles.
    #[default]
    All,
    /// The assistant's turns: the `{% generation %}` blocks of the chat template, or, if it has
    /// none, each turn of the role `assistant` up to its end-of-sequence token.
    Assistant,
    /// The assistant's last turn.
    Last,
}

impl Reader {
    /// The demonstrations of a conversation, selected by `loss_on`; messages before `from` are
    /// never trained on. Each is a run of tokens whose prompt is everything before it, so that the
    /// log-probs are those of the whole conversation.
    pub(crate) fn turns(
        &self,
        row: &Row,
        (messages, from): (&[Value], usize),
        notes: &mut Notes,
    ) -> Result<Vec<Item>> {
        let loss_on = self.settings().loss_on;
        let marked = self.parser().chat.has_generation_blocks() && from == 0;
        if loss_on == LossOn::Assistant && marked {
            return self.generation_blocks(row, messages, notes);
        }
        let mut turns = turns(messages, from);
        if loss_on == LossOn::Last {
            turns.drain(..turns.len().saturating_sub(1));
        }
        if turns.is_empty() {
            return Err(row.error("no turn of the role \"assistant\" to train on"));
        }
        let turn = |turn: Range<usize>| {
            let prompt = FieldValue::Chat(messages[..turn.start].to_vec());
            let answer = FieldValue::Chat(messages[turn].to_vec());
            let parsed = self.parser().join(row, prompt, vec![answer])?;
            self.note_boundary(row, &parsed, notes)?;
            self.item(row, &parsed, &[("messages", 0)], notes)
        };
        turns.into_iter().map(turn).collect()
    }

    /// One demonstration for each `{% generation %}` block of the template.
    fn generation_blocks(
        &self,
        row: &Row,
        messages: &[Value],
        notes: &mut Notes,
    ) -> Result<Vec<Item>> {
        let settings = self.settings();
        let vocabulary = &settings.vocabulary;
        let (text, spans) = self.parser().chat.render_with_spans(row, messages)?;
        let encoded = vocabulary.tokenizer.encode_with_places(&text);
        let (ids, places) = encoded.map_err(|error| row.error(error.to_string()))?;
        let mut items = Vec::with_capacity(spans.len());
        for span in spans.iter().filter(|span| !span.is_empty()) {
            // The first token of the text is never a response: nothing comes before it.
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
            vocabulary.truncate_prompt(&mut prompt, keep, notes);
            let response: Response = vocabulary.response(part(start..end), most, notes);
            items.push(Item {
                prompt,
                responses: vec![response],
                desirable: None,
            });
        }
        if items.is_empty() {
            Err(row.error(
                "the chat template puts nothing in {% generation %} blocks for this row, so there \
                 is nothing to train on",
            ))
        } else {
            Ok(items)
        }
    }
}

/// The assistant's turns from message `from` on: runs of messages of that role.
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
