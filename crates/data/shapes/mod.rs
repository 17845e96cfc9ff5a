//! The shapes of rows, and parsing a row into a prompt and answers, each token ids or text.

mod completion;
mod conversation;
mod pair;
mod prompt;
mod scored;
mod text;

pub use conversation::Chat;
pub use scored::PairsOf;

pub(crate) use conversation::{FieldValue, is_assistant};

use crate::{Fields, ItemKind, Result, Row};
use serde::Serialize;

/// The shape of a row: which fields it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// A whole document or conversation.
    Text,
    /// A prompt to sample responses to.
    Prompt,
    /// A prompt and its completion.
    Completion,
    /// A prompt, a chosen and a rejected completion.
    Preference,
    /// A chosen and a rejected dialogue that share their prompt.
    ImplicitPreference,
    /// A prompt, a completion, and whether it is desirable.
    Unpaired,
    /// A prompt and several responses with their scores.
    Scored,
}

impl Shape {
    /// The kind of item read from this shape by default.
    pub(crate) fn item_kind(self) -> ItemKind {
        match self {
            Self::Text | Self::Completion => ItemKind::Demonstrations,
            Self::Prompt => ItemKind::Prompts,
            Self::Preference | Self::ImplicitPreference | Self::Scored => ItemKind::Pairs,
            Self::Unpaired => ItemKind::Unpaired,
        }
    }

    /// The shape of a row, if it has one.
    #[must_use]
    pub fn of(row: &Row, fields: &Fields) -> Option<Self> {
        let has = |name: &String| has(row, name);
        Some(if has(&fields.chosen) || has(&fields.rejected) {
            if has(&fields.prompt) {
                Self::Preference
            } else {
                Self::ImplicitPreference
            }
        } else if has(&fields.responses) {
            Self::Scored
        } else if has(&fields.completion) {
            if has(&fields.label) {
                Self::Unpaired
            } else {
                Self::Completion
            }
        } else if has(&fields.prompt) {
            Self::Prompt
        } else if has(&fields.text) || has(&fields.messages) {
            Self::Text
        } else {
            return None;
        })
    }

    /// A short description.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Prompt => "prompts",
            Self::Completion => "prompts and completions",
            Self::Preference => "preferences with a prompt",
            Self::ImplicitPreference => "preferences with a prompt in both dialogues",
            Self::Unpaired => "prompts and completions labelled one by one",
            Self::Scored => "prompts and scored responses",
        }
    }
}

/// Whether a row has a field or its `_ids` field.
pub(crate) fn has(row: &Row, name: &str) -> bool {
    row.get(name).is_some() || (!name.is_empty() && row.get(&format!("{name}_ids")).is_some())
}

/// A part of a row to be tokenized.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Segment {
    /// Token ids.
    Ids(Vec<u32>),
    /// Text.
    Text(String),
    /// Text rendered by a chat template, including special tokens.
    Rendered(String),
}

impl Segment {
    /// The text, unless it is token ids.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Ids(_) => None,
            Self::Text(text) | Self::Rendered(text) => Some(text),
        }
    }

    /// Whether it is empty or white space.
    pub(crate) fn is_blank(&self) -> bool {
        match self {
            Self::Ids(ids) => ids.is_empty(),
            Self::Text(text) | Self::Rendered(text) => text.trim().is_empty(),
        }
    }
}

/// A parsed row.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct ParsedRow {
    /// The prompt, unless the row is a document.
    pub(crate) prompt: Option<Segment>,
    /// The answers to the prompt: none, one, chosen and rejected, or one for each score.
    pub(crate) answers: Vec<Segment>,
    /// Their scores.
    pub(crate) scores: Vec<f64>,
    /// The number of turns, if it is a dialogue.
    pub(crate) turns: usize,
    /// Whether chosen and rejected answer different prompts. Then `prompt` is the chosen one's.
    pub(crate) prompts_differ: bool,
    /// Whether the chat template renders the prompt differently once it is answered.
    pub(crate) prompt_rewritten: bool,
    /// The contents of the answers without the template's text, if they are conversations.
    pub(crate) contents: Vec<String>,
}

impl ParsedRow {
    /// The number of empty answers.
    pub(crate) fn empty_answers(&self) -> usize {
        if self.contents.is_empty() {
            self.answers
                .iter()
                .filter(|answer| answer.is_blank())
                .count()
        } else {
            self.contents
                .iter()
                .filter(|text| text.trim().is_empty())
                .count()
        }
    }
}

/// Parses rows into prompts and answers.
#[derive(Debug, Clone)]
pub(crate) struct RowParser {
    pub(crate) fields: Fields,
    pub(crate) chat: Chat,
}

impl RowParser {
    /// Parses a row of this shape.
    ///
    /// # Errors
    /// If a field is missing or has the wrong type, or the chat template rejects the row.
    pub(crate) fn parse(&self, row: &Row, shape: Shape) -> Result<ParsedRow> {
        match shape {
            Shape::Text => self.text(row),
            Shape::Prompt => self.prompt(row),
            Shape::Completion => self.completion(row),
            Shape::Unpaired => self.completion(row),
            Shape::Preference => self.pair(row),
            Shape::ImplicitPreference => self.implicit_pair(row),
            Shape::Scored => self.scored(row),
        }
    }

    /// A required field.
    fn required(&self, row: &Row, name: &str) -> Result<FieldValue> {
        if name.is_empty() {
            return Err(row.error(self.fields.nameless()));
        }
        let missing = || row.missing_fields(&[name, &format!("{name}_ids")]);
        FieldValue::of(row, name)?.ok_or_else(missing)
    }
}
