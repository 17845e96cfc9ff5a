//! What is wanted of rows, and what one gives.

use rlhf_objective::{Prompt, Response};

/// What is wanted of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ItemKind {
    /// Prompts to answer.
    Prompts,
    /// Preference pairs.
    Pairs,
    /// Documents, or prompts with their completions.
    Demonstrations,
    /// Prompts with their completions.
    Completions,
    /// Prompts with completions judged one by one; the label stays a field of the prompt.
    Unpaired,
}

/// A prompt and the responses that belong together.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) prompt: Prompt,
    pub(crate) responses: Vec<Response>,
    /// Of a completion that is judged by itself: whether it was liked.
    pub(crate) liked: Option<bool>,
}
