//! What a row says, before it is tokens: a prompt and the answers to it, each ids or text.

mod completion;
mod conversation;
mod pair;
mod prompt;
mod scored;
mod text;

pub use conversation::Chat;
pub use scored::PairsOf;

pub(crate) use conversation::{Said, is_assistant};

use crate::{Fields, ItemKind, Result, Row};
use serde::Serialize;

/// What a row holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// A whole document or conversation.
    Text,
    /// A prompt to be answered.
    Prompt,
    /// A prompt and its completion.
    Completion,
    /// A prompt, a chosen and a rejected completion.
    Preference,
    /// A chosen and a rejected dialogue, which share their prompt.
    ImplicitPreference,
    /// A prompt, a completion, and whether it is desirable.
    Unpaired,
    /// A prompt and several responses with their scores.
    Scored,
}

impl Shape {
    /// What rows of this shape are for, where nothing else is said.
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
            match has(&fields.prompt) {
                true => Self::Preference,
                false => Self::ImplicitPreference,
            }
        } else if has(&fields.responses) {
            Self::Scored
        } else if has(&fields.completion) {
            match has(&fields.label) {
                true => Self::Unpaired,
                false => Self::Completion,
            }
        } else if has(&fields.prompt) {
            Self::Prompt
        } else if has(&fields.text) || has(&fields.messages) {
            Self::Text
        } else {
            return None;
        })
    }

    /// In a few words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Prompt => "prompts",
            Self::Completion => "prompts and completions",
            Self::Preference => "preferences with a prompt",
            Self::ImplicitPreference => "preferences whose prompt is what they share",
            Self::Unpaired => "prompts and completions judged one by one",
            Self::Scored => "prompts and scored responses",
        }
    }
}

/// Whether a row has a field or its ids.
pub(crate) fn has(row: &Row, name: &str) -> bool {
    row.get(name).is_some() || (!name.is_empty() && row.get(&format!("{name}_ids")).is_some())
}

/// A part of a row on its way to tokens.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Piece {
    /// Tokens as they are.
    Ids(Vec<u32>),
    /// Text.
    Text(String),
    /// Text that a chat template wrote, special tokens and all.
    Rendered(String),
}

impl Piece {
    /// Its text, unless it is ids.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Ids(_) => None,
            Self::Text(text) | Self::Rendered(text) => Some(text),
        }
    }

    /// Whether it says nothing.
    pub(crate) fn is_blank(&self) -> bool {
        match self {
            Self::Ids(ids) => ids.is_empty(),
            Self::Text(text) | Self::Rendered(text) => text.trim().is_empty(),
        }
    }
}

/// What a row says.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Written {
    /// The prompt, unless the row is a document.
    pub(crate) prompt: Option<Piece>,
    /// The answers to it: none, one, or chosen and rejected, or those that have scores.
    pub(crate) answers: Vec<Piece>,
    /// Their scores.
    pub(crate) scores: Vec<f64>,
    /// How many turns it has, where it is a dialogue.
    pub(crate) turns: usize,
    /// Chosen and rejected answer different prompts; this is the chosen one's.
    pub(crate) apart: bool,
    /// The chat template wrote the prompt otherwise once it was answered.
    pub(crate) rewritten: bool,
    /// The answers without what the template puts around them, where they are conversations.
    pub(crate) said: Vec<String>,
}

impl Written {
    /// Answers that say nothing.
    pub(crate) fn empty_answers(&self) -> usize {
        match self.said.is_empty() {
            true => self
                .answers
                .iter()
                .filter(|answer| answer.is_blank())
                .count(),
            false => self
                .said
                .iter()
                .filter(|text| text.trim().is_empty())
                .count(),
        }
    }
}

/// Takes rows apart.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    pub(crate) fields: Fields,
    pub(crate) chat: Chat,
}

impl Writer {
    /// What a row of this shape says.
    ///
    /// # Errors
    /// If a field is missing or of the wrong type, or the chat template refuses the row.
    pub(crate) fn write(&self, row: &Row, shape: Shape) -> Result<Written> {
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

    /// A field that must be there.
    fn must(&self, row: &Row, name: &str) -> Result<Said> {
        if name.is_empty() {
            return Err(row.error(self.fields.nameless()));
        }
        let missing = || row.lacks(&[name, &format!("{name}_ids")]);
        Said::of(row, name)?.ok_or_else(missing)
    }
}
