//! What the fields of a row are called.

use serde::{Deserialize, Serialize};

/// The names of the fields of a row. Ids are read from the field of the same name with `_ids` at
/// its end, and win over text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fields {
    /// The prompt.
    pub prompt: String,
    /// More of a prompt that is a string, after a line break, where a row has it and it is not empty.
    pub input: String,
    /// What stands between a prompt that is a string and its completion; it counts as the prompt's
    /// end.
    pub separator: String,
    /// The better completion of a pair.
    pub chosen: String,
    /// The worse one.
    pub rejected: String,
    /// The completion of a demonstration.
    pub completion: String,
    /// A whole document.
    pub text: String,
    /// A whole conversation.
    pub messages: String,
    /// Whether a completion is desirable, where completions are judged one by one.
    pub label: String,
    /// Several responses to a prompt.
    pub responses: String,
    /// Their scores, one each.
    pub scores: String,
    /// What the last answer of a dialogue in one string starts with: where a pair has no prompt of its
    /// own, the prompt ends there.
    pub turn: String,
}

impl Default for Fields {
    fn default() -> Self {
        Self {
            prompt: "prompt".into(),
            input: "input".into(),
            separator: String::new(),
            chosen: "chosen".into(),
            rejected: "rejected".into(),
            completion: "completion".into(),
            text: "text".into(),
            messages: "messages".into(),
            label: "label".into(),
            responses: "responses".into(),
            scores: "scores".into(),
            turn: "\n\nAssistant:".into(),
        }
    }
}

impl Fields {
    /// Whether a field is one that becomes tokens.
    pub(crate) fn is_read(&self, name: &str) -> bool {
        let name = name.strip_suffix("_ids").unwrap_or(name);
        [
            &self.prompt,
            &self.input,
            &self.chosen,
            &self.rejected,
            &self.completion,
            &self.text,
            &self.messages,
            &self.responses,
        ]
        .contains(&&name.to_string())
    }
}
