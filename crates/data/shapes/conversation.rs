//! Conversations, and how a chat template turns a prompt and its answers into text.

use super::{ParsedRow, RowParser, Segment};
use crate::chat::Template;
use crate::{Result, Row};
use serde_json::{Value, json};
use std::ops::Range;
use std::sync::Arc;

/// How conversations become text.
#[derive(Debug, Clone, Default)]
pub enum Chat {
    /// There is no template: a row with a conversation is an error.
    #[default]
    Missing,
    /// The contents of the messages, one per line, without a template. For measuring only, never
    /// for training.
    Contents,
    /// By a chat template.
    Template(Arc<Template>),
}

impl Chat {
    /// The text of a whole conversation.
    pub(super) fn render(&self, row: &Row, messages: &[Value]) -> Result<String> {
        self.text(row, messages, false)
    }

    /// Whether the template marks the assistant's text with `{% generation %}`.
    pub(crate) fn has_generation_blocks(&self) -> bool {
        matches!(self, Self::Template(template) if template.has_generation_blocks())
    }

    /// The text of a whole conversation, and the byte ranges of the template's `{% generation %}`
    /// blocks.
    pub(crate) fn render_with_spans(
        &self,
        row: &Row,
        messages: &[Value],
    ) -> Result<(String, Vec<Range<usize>>)> {
        match self {
            Self::Template(template) => template.render_with_spans(row, messages),
            _ => Ok((self.render(row, messages)?, Vec::new())),
        }
    }

    /// The text of a prompt: up to the start of the next answer, or, if the last message is the
    /// assistant's, up to the end of that message.
    fn render_prompt(&self, row: &Row, messages: &[Value]) -> Result<String> {
        match (self, messages.split_last()) {
            (Self::Template(template), Some((last, before))) if is_assistant(last) => {
                match last_text(last) {
                    // The last message is an empty answer.
                    Some("") => template.render(row, before, true),
                    _ => continue_final_message(template, row, messages),
                }
            }
            _ => self.text(row, messages, true),
        }
    }

    fn text(&self, row: &Row, messages: &[Value], add_generation_prompt: bool) -> Result<String> {
        match self {
            Self::Template(template) => template.render(row, messages, add_generation_prompt),
            Self::Contents => Ok(plain_contents(messages)),
            Self::Missing => Err(row.error(
                "holds a conversation, but the checkpoint has no chat template: name a template \
                 file (data.chat_template)",
            )),
        }
    }
}

/// Whether a message has the role `assistant`.
pub(crate) fn is_assistant(message: &Value) -> bool {
    message["role"] == "assistant"
}

/// The last text in a message's content.
fn last_text(message: &Value) -> Option<&str> {
    let content = &message["content"];
    let parts = content.as_array().into_iter().flatten().rev();
    let mut texts = parts.filter_map(|part| part["text"].as_str());
    content.as_str().or_else(|| texts.next())
}

/// The same, mutable.
fn last_text_mut(message: &mut Value) -> Option<&mut String> {
    match message.get_mut("content")? {
        Value::String(text) => Some(text),
        Value::Array(parts) => {
            let mut parts = parts.iter_mut().rev();
            parts.find_map(|part| match part.get_mut("text")? {
                Value::String(text) => Some(text),
                _ => None,
            })
        }
        _ => None,
    }
}

/// The text of a conversation up to the end of its last message, like `continue_final_message` of
/// transformers: the conversation is rendered with a tag after that message and cut where the tag
/// occurs. The tag ends with a space, which shows whether the template trims the content; then it
/// is trimmed here too.
fn continue_final_message(template: &Template, row: &Row, messages: &[Value]) -> Result<String> {
    const MARK: &str = "CONTINUE_FINAL_MESSAGE_TAG ";
    let mut marked = messages.to_vec();
    let said = marked.last_mut().and_then(last_text_mut).map(|said| {
        let plain = said.trim().to_string();
        said.push_str(MARK);
        plain
    });
    let mut text = template.render(row, &marked, false)?;
    let found = said.filter(|said| text.contains(said));
    let Some(place) = found.and_then(|_| text.rfind(MARK.trim_end())) else {
        return Err(row.error(
            "ends with an assistant's turn to continue, but the chat template does not write the \
             content of that turn",
        ));
    };
    let whole = text[place..].starts_with(MARK);
    text.truncate(place);
    if !whole {
        text.truncate(text.trim_end().len());
    }
    Ok(text)
}

/// A prompt and its answer as one conversation. If the prompt ends with an assistant's message, the
/// first message of the answer continues it.
fn append_answer(prompt: &[Value], mut answer: Vec<Value>) -> Vec<Value> {
    let mut whole = prompt.to_vec();
    if let (Some(last), Some(first)) = (whole.last_mut(), answer.first())
        && is_assistant(last)
        && is_assistant(first)
        && let (Some(start), Some(rest)) = (last["content"].as_str(), first["content"].as_str())
    {
        let (said, mut next) = (format!("{start}{rest}"), answer.remove(0));
        next["content"] = said.into();
        *last = next;
    }
    whole.append(&mut answer);
    whole
}

/// The contents of messages, one per line.
fn plain_contents(messages: &[Value]) -> String {
    let content = |message: &Value| message["content"].as_str().unwrap_or_default().to_string();
    messages.iter().map(content).collect::<Vec<_>>().join("\n")
}

/// The value of a field.
#[derive(Debug, Clone)]
pub(crate) enum FieldValue {
    /// Token ids.
    Ids(Vec<u32>),
    /// A string.
    Text(String),
    /// Messages, each with a role and content.
    Chat(Vec<Value>),
}

impl FieldValue {
    /// The value of a field or of its `_ids` field, if the row has one.
    pub(crate) fn of(row: &Row, name: &str) -> Result<Option<Self>> {
        if name.is_empty() {
            return Ok(None);
        }
        if let Some(ids) = row.ids(&format!("{name}_ids"))? {
            return Ok(Some(Self::Ids(ids)));
        }
        Ok(match row.get(name) {
            None => None,
            Some(Value::String(text)) => Some(Self::Text(text.clone())),
            Some(Value::Array(messages)) => {
                for (index, message) in messages.iter().enumerate() {
                    check_message(row, name, index, message)?;
                }
                Some(Self::Chat(messages.clone()))
            }
            Some(other) => {
                let expected = "a string or a conversation, [{\"role\": …, \"content\": …}, …]";
                return Err(row.wrong_type(name, expected, other));
            }
        })
    }

    /// Whether it is a conversation of more than one message.
    pub(super) fn is_dialogue(&self) -> bool {
        matches!(self, Self::Chat(messages) if messages.len() > 1)
    }

    fn into_messages(self, role: &str) -> Option<Vec<Value>> {
        match self {
            Self::Ids(_) => None,
            Self::Text(text) => Some(vec![json!({"role": role, "content": text})]),
            Self::Chat(messages) => Some(messages),
        }
    }

    fn into_segment(self) -> Segment {
        match self {
            Self::Ids(ids) => Segment::Ids(ids),
            Self::Text(text) => Segment::Text(text),
            Self::Chat(messages) => Segment::Rendered(plain_contents(&messages)),
        }
    }
}

fn check_message(row: &Row, name: &str, index: usize, message: &Value) -> Result<()> {
    let wrong = |what: &str| {
        let number = index + 1;
        Err(row.error(format!("message {number} of `{name}` {what}")))
    };
    let Value::Object(parts) = message else {
        return wrong("is not an object: expected {\"role\": …, \"content\": …}");
    };
    match parts.get("role") {
        Some(Value::String(_)) => {}
        _ => return wrong("has no `role` that is a string"),
    }
    match parts.get("content") {
        Some(Value::String(_) | Value::Array(_)) => Ok(()),
        None | Some(Value::Null) if parts.contains_key("tool_calls") => Ok(()),
        _ => wrong("has no `content` that is a string"),
    }
}

impl RowParser {
    /// A prompt and its answers, rendered by the chat template if any of them is a conversation.
    pub(crate) fn join(
        &self,
        row: &Row,
        prompt: FieldValue,
        answers: Vec<FieldValue>,
    ) -> Result<ParsedRow> {
        let chat = |value: &FieldValue| matches!(value, FieldValue::Chat(_));
        if !chat(&prompt) && !answers.iter().any(chat) {
            return Ok(ParsedRow {
                prompt: Some(prompt.into_segment()),
                answers: answers.into_iter().map(FieldValue::into_segment).collect(),
                ..ParsedRow::default()
            });
        }
        let ids = || row.error("has both a conversation and token ids. Give only one of the two");
        let prompt = prompt.into_messages("user").ok_or_else(ids)?;
        let mut parsed = ParsedRow::default();
        let mut shared = self.chat.render_prompt(row, &prompt)?;
        let mut texts = Vec::with_capacity(answers.len());
        for answer in answers {
            let answer = answer.into_messages("assistant").ok_or_else(ids)?;
            parsed.contents.push(plain_contents(&answer));
            parsed.turns = prompt.len() + answer.len();
            texts.push(match self.chat {
                Chat::Contents => format!("{shared}{}", parsed.contents[texts.len()]),
                _ => self.chat.render(row, &append_answer(&prompt, answer))?,
            });
        }
        // A template may render the prompt differently once it is answered. Then the prompt ends at
        // the first difference: the policy continues the prefix that all texts share.
        for text in &texts {
            let common = common_prefix(&shared, text);
            parsed.prompt_rewritten |= common < shared.len();
            shared.truncate(common);
        }
        let rest = |text: &String| Segment::Rendered(text[shared.len()..].to_string());
        parsed.answers = texts.iter().map(rest).collect();
        parsed.prompt = Some(Segment::Rendered(shared));
        Ok(parsed)
    }
}

/// The length in bytes of the common prefix of two texts, in whole characters.
fn common_prefix(a: &str, b: &str) -> usize {
    let mut pairs = a.char_indices().zip(b.chars());
    pairs
        .find(|((_, x), y)| x != y)
        .map_or(a.len().min(b.len()), |((index, _), _)| index)
}
