//! The kind of item that is read from each row, and the item itself.

use rlhf_objective::{Prompt, Response};

/// The kind of item that is read from each row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemKind {
    /// Prompts to sample responses to.
    Prompts,
    /// Preference pairs.
    Pairs,
    /// Documents, or prompts with their completions.
    Demonstrations,
    /// Prompts with their completions.
    Completions,
    /// Prompts with completions that are labelled one by one. The label stays a field of the
    /// prompt.
    Unpaired,
}

/// A prompt and its responses.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) prompt: Prompt,
    pub(crate) responses: Vec<Response>,
    /// The label of an unpaired completion: whether it is desirable.
    pub(crate) desirable: Option<bool>,
}
