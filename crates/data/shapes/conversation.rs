//! Conversations, and how a prompt and its answers become text by a chat template.

use super::{Piece, Writer, Written};
use crate::chat::Template;
use crate::{Result, Row};
use serde_json::{Value, json};
use std::ops::Range;
use std::sync::Arc;

/// How conversations become text.
#[derive(Debug, Clone, Default)]
pub enum Chat {
    /// Not at all: a row that holds one is an error.
    #[default]
    Missing,
    /// What is said, a line each, and nothing around it: to measure, never to train on.
    Contents,
    /// By a template.
    Template(Arc<Template>),
}

impl Chat {
    /// A whole conversation.
    pub(super) fn render(&self, row: &Row, messages: &[Value]) -> Result<String> {
        self.text(row, messages, false)
    }

    /// Whether a template says which part of a text an assistant says.
    pub(crate) fn marks_answers(&self) -> bool {
        matches!(self, Self::Template(template) if template.marks_answers())
    }

    /// A whole conversation, and the bytes of it that a template marks as an assistant's.
    pub(crate) fn marked(
        &self,
        row: &Row,
        messages: &[Value],
    ) -> Result<(String, Vec<Range<usize>>)> {
        match self {
            Self::Template(template) => template.render_marked(row, messages),
            _ => Ok((self.render(row, messages)?, Vec::new())),
        }
    }

    /// The text of a conversation that is to be answered: up to where the next answer starts, or, where
    /// the assistant spoke last, up to where it stopped.
    fn invite(&self, row: &Row, messages: &[Value]) -> Result<String> {
        match (self, messages.split_last()) {
            (Self::Template(template), Some((last, before))) if is_assistant(last) => {
                match last_text(last) {
                    // It said nothing yet.
                    Some("") => template.render(row, before, true),
                    _ => unfinished(template, row, messages),
                }
            }
            _ => self.text(row, messages, true),
        }
    }

    fn text(&self, row: &Row, messages: &[Value], invite: bool) -> Result<String> {
        match self {
            Self::Template(template) => template.render(row, messages, invite),
            Self::Contents => Ok(contents(messages)),
            Self::Missing => Err(row.error(
                "holds a conversation, and the checkpoint has no chat template to write it with: \
                 name a file (data.chat_template)",
            )),
        }
    }
}

/// Whether a message is an assistant's.
pub(crate) fn is_assistant(message: &Value) -> bool {
    message["role"] == "assistant"
}

/// What a message says last, as text.
fn last_text(message: &Value) -> Option<&str> {
    let content = &message["content"];
    let parts = content.as_array().into_iter().flatten().rev();
    let mut texts = parts.filter_map(|part| part["text"].as_str());
    content.as_str().or_else(|| texts.next())
}

/// The same, to be changed.
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

/// A conversation up to the end of what was said last, as by `continue_final_message` of transformers:
/// it is rendered with a mark behind that, and ends where the mark is found. The mark ends with a blank,
/// so that it shows whether the template cuts blanks off; then they are cut off here too.
fn unfinished(template: &Template, row: &Row, messages: &[Value]) -> Result<String> {
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
            "ends with an assistant's turn, which is to be continued, and the chat template does not \
             write what that turn says",
        ));
    };
    let whole = text[place..].starts_with(MARK);
    text.truncate(place);
    if !whole {
        text.truncate(text.trim_end().len());
    }
    Ok(text)
}

/// A prompt and the answer to it as one conversation. Where the assistant spoke last in the prompt,
/// what it says first in the answer continues that.
fn joined(prompt: &[Value], mut answer: Vec<Value>) -> Vec<Value> {
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

/// What is said, a line each.
fn contents(messages: &[Value]) -> String {
    let content = |message: &Value| message["content"].as_str().unwrap_or_default().to_string();
    messages.iter().map(content).collect::<Vec<_>>().join("\n")
}

/// What a field says.
#[derive(Debug, Clone)]
pub(crate) enum Said {
    /// Tokens.
    Ids(Vec<u32>),
    /// A string.
    Text(String),
    /// Messages with a role and a content each.
    Chat(Vec<Value>),
}

impl Said {
    /// A field or its ids, if the row has it.
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
                    check(row, name, index, message)?;
                }
                Some(Self::Chat(messages.clone()))
            }
            Some(other) => {
                let expected = "a string or a conversation, [{\"role\": …, \"content\": …}, …]";
                return Err(row.wrong(name, expected, other));
            }
        })
    }

    /// Whether it is a conversation of more than an answer.
    pub(super) fn is_dialogue(&self) -> bool {
        matches!(self, Self::Chat(messages) if messages.len() > 1)
    }

    fn messages(self, role: &str) -> Option<Vec<Value>> {
        match self {
            Self::Ids(_) => None,
            Self::Text(text) => Some(vec![json!({"role": role, "content": text})]),
            Self::Chat(messages) => Some(messages),
        }
    }

    fn piece(self) -> Piece {
        match self {
            Self::Ids(ids) => Piece::Ids(ids),
            Self::Text(text) => Piece::Text(text),
            Self::Chat(messages) => Piece::Rendered(contents(&messages)),
        }
    }
}

fn check(row: &Row, name: &str, index: usize, message: &Value) -> Result<()> {
    let wrong = |what: &str| {
        let number = index + 1;
        Err(row.error(format!("message {number} of `{name}` {what}")))
    };
    let Value::Object(parts) = message else {
        return wrong("is no object: expected {\"role\": …, \"content\": …}");
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

impl Writer {
    /// A prompt and its answers, written by the chat template if any of them is a conversation.
    pub(crate) fn join(&self, row: &Row, prompt: Said, answers: Vec<Said>) -> Result<Written> {
        let chat = |said: &Said| matches!(said, Said::Chat(_));
        if !chat(&prompt) && !answers.iter().any(chat) {
            return Ok(Written {
                prompt: Some(prompt.piece()),
                answers: answers.into_iter().map(Said::piece).collect(),
                ..Written::default()
            });
        }
        let ids = || row.error("has both a conversation and token ids: give one of the two");
        let prompt = prompt.messages("user").ok_or_else(ids)?;
        let mut written = Written::default();
        let mut shared = self.chat.invite(row, &prompt)?;
        let mut texts = Vec::with_capacity(answers.len());
        for answer in answers {
            let answer = answer.messages("assistant").ok_or_else(ids)?;
            written.said.push(contents(&answer));
            written.turns = prompt.len() + answer.len();
            texts.push(match self.chat {
                Chat::Contents => format!("{shared}{}", written.said[texts.len()]),
                _ => self.chat.render(row, &joined(&prompt, answer))?,
            });
        }
        // A template may write the prompt otherwise once it is answered; then the prompt ends where
        // the texts part, as what all of them share is what a policy is asked to continue.
        for text in &texts {
            let common = common_prefix(&shared, text);
            written.rewritten |= common < shared.len();
            shared.truncate(common);
        }
        let rest = |text: &String| Piece::Rendered(text[shared.len()..].to_string());
        written.answers = texts.iter().map(rest).collect();
        written.prompt = Some(Piece::Rendered(shared));
        Ok(written)
    }
}

/// How many bytes two texts share at their start, in whole characters.
fn common_prefix(a: &str, b: &str) -> usize {
    let mut pairs = a.char_indices().zip(b.chars());
    pairs
        .find(|((_, x), y)| x != y)
        .map_or(a.len().min(b.len()), |((index, _), _)| index)
}
