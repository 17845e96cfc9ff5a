//! The names of the fields of a row.

use crate::{Error, ItemKind, Result, Row};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The names of the fields of a row. Token ids are read from the field of the same name with the
/// suffix `_ids`, and take precedence over text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fields {
    /// The prompt.
    pub prompt: String,
    /// Text appended to a prompt that is a string, after a line break, if it is not empty. It must
    /// be a string too.
    pub input: String,
    /// The text between a prompt that is a string and its completion; it belongs to the prompt.
    pub separator: String,
    /// The better completion of a pair.
    pub chosen: String,
    /// The worse completion of a pair.
    pub rejected: String,
    /// The completion of a demonstration.
    pub completion: String,
    /// A whole document.
    pub text: String,
    /// A whole conversation.
    pub messages: String,
    /// Whether a completion is desirable, for unpaired preferences.
    pub label: String,
    /// Several responses to a prompt.
    pub responses: String,
    /// The scores of the responses.
    pub scores: String,
    /// The text that starts the last answer of a dialogue in one string: the prompt of a pair
    /// without a prompt field ends there.
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
    /// Each field name with the key of its setting.
    fn named(&self) -> [(&'static str, &String); 10] {
        [
            ("prompt", &self.prompt),
            ("input", &self.input),
            ("chosen", &self.chosen),
            ("rejected", &self.rejected),
            ("completion", &self.completion),
            ("text", &self.text),
            ("messages", &self.messages),
            ("label", &self.label),
            ("responses", &self.responses),
            ("scores", &self.scores),
        ]
    }

    fn named_mut(&mut self) -> [(&'static str, &mut String); 10] {
        [
            ("prompt", &mut self.prompt),
            ("input", &mut self.input),
            ("chosen", &mut self.chosen),
            ("rejected", &mut self.rejected),
            ("completion", &mut self.completion),
            ("text", &mut self.text),
            ("messages", &mut self.messages),
            ("label", &mut self.label),
            ("responses", &mut self.responses),
            ("scores", &mut self.scores),
        ]
    }

    /// Ensures that no column has two roles. If a given name is the default of another role, that
    /// role has no column: its name becomes empty. `given` says which keys the user set.
    ///
    /// # Errors
    /// If the same name was given for two roles; the message names both.
    pub fn resolve_conflicts(
        &mut self,
        given: impl Fn(&str) -> bool,
    ) -> std::result::Result<(), String> {
        let all = self.named().map(|(key, name)| (key, name.clone()));
        let mut empty = Vec::new();
        for (index, (key, name)) in all.iter().enumerate() {
            for (other, same) in &all[..index] {
                if name != same || name.is_empty() {
                    continue;
                }
                match (given(other), given(key)) {
                    (true, true) => {
                        return Err(format!(
                            "data.fields.{other} and data.fields.{key} are both `{name}`: a column \
                             can have only one role. Name another column, or none \
                             (data.fields.{key} = \"\")"
                        ));
                    }
                    (false, true) => empty.push(*other),
                    _ => empty.push(*key),
                }
            }
        }
        for (key, name) in self.named_mut() {
            if empty.contains(&key) {
                name.clear();
            }
        }
        Ok(())
    }

    /// Whether a column or its `_ids` column has a role.
    pub(crate) fn has_name(&self, name: &str) -> bool {
        let name = name.strip_suffix("_ids").unwrap_or(name);
        !name.is_empty() && self.named().iter().any(|(_, known)| *known == name)
    }

    /// Whether a column holds text that an `_ids` column may replace.
    pub(crate) fn has_text(&self, name: &str) -> bool {
        !name.is_empty() && *name != self.input && !name.ends_with("_ids") && self.is_read(name)
    }

    /// The error of a required field without a name: it names the setting that took its column, if
    /// one did.
    pub(crate) fn nameless(&self) -> String {
        let default = Self::default();
        let mut taken = Vec::new();
        for ((key, name), (_, column)) in self.named().into_iter().zip(default.named()) {
            let mut others = self.named().into_iter();
            let other = others.find(|(_, other)| *other == column);
            if let (true, Some((other, _))) = (name.is_empty(), other) {
                taken.push(format!(
                    "data.fields.{other} = \"{column}\" takes the column of data.fields.{key}: a \
                     column can have only one role. Name another column for one of the two"
                ));
            }
        }
        if taken.is_empty() {
            "a required field has no name: set it in data.fields".into()
        } else {
            taken.join("; ")
        }
    }

    /// Whether a field is tokenized.
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

/// Checks that the columns named in the settings exist. A name that no row has is an error of the
/// settings: otherwise rows would be read as if it had not been set.
#[derive(Debug)]
pub struct NamedColumns {
    /// Key and name of the columns not found so far.
    missing: Vec<(&'static str, String)>,
    /// The columns of the first row.
    columns: Vec<String>,
}

impl NamedColumns {
    /// The columns that the settings name for this kind of item, without those left at their
    /// default.
    #[must_use]
    pub fn new(fields: &Fields, kind: ItemKind, first: &Row) -> Self {
        let roles: &[&str] = match kind {
            ItemKind::Prompts => &["prompt", "input"],
            ItemKind::Pairs => &[
                "prompt",
                "input",
                "chosen",
                "rejected",
                "label",
                "responses",
                "scores",
            ],
            ItemKind::Demonstrations => &["prompt", "input", "completion", "text", "messages"],
            ItemKind::Completions => &["prompt", "input", "completion"],
            ItemKind::Unpaired => &["prompt", "input", "completion", "label"],
        };
        let default = Fields::default();
        let named = fields.named().into_iter().zip(default.named());
        let missing = named.filter(|((key, name), (_, default))| {
            roles.contains(key) && name != default && !name.is_empty()
        });
        Self {
            missing: missing
                .map(|((key, name), _)| (key, name.clone()))
                .collect(),
            columns: first.fields.keys().cloned().collect(),
        }
    }

    /// Records the columns of a row.
    pub fn visit(&mut self, row: &Row) {
        if !self.missing.is_empty() {
            let column = |name: &str| row.fields.contains_key(name);
            self.missing
                .retain(|(_, name)| !column(name) && !column(&format!("{name}_ids")));
        }
    }

    /// Checks that every named column was found in this file or folder.
    ///
    /// # Errors
    /// If a column was not found; the message names the setting and the columns of the first row.
    pub fn check(&self, path: &Path) -> Result<()> {
        let Some((key, name)) = self.missing.first() else {
            return Ok(());
        };
        let columns = self.columns.iter().map(|column| format!("`{column}`"));
        let columns = columns.collect::<Vec<_>>().join(", ");
        Err(Error::file(
            path,
            format!(
                "no row has the field `{name}` that data.fields.{key} names; the first row has \
                 {columns}"
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled(names: &[(&str, &str)]) -> std::result::Result<Fields, String> {
        let mut fields = Fields::default();
        for (key, name) in fields.named_mut() {
            if let Some((_, given)) = names.iter().find(|(known, _)| *known == key) {
                *name = (*given).to_string();
            }
        }
        let given = |key: &str| names.iter().any(|(known, _)| *known == key);
        fields.resolve_conflicts(given).map(|()| fields)
    }

    #[test]
    fn no_column_has_two_roles() {
        let fields = settled(&[("prompt", "input")]).unwrap();
        assert_eq!(
            (fields.prompt.as_str(), fields.input.as_str()),
            ("input", "")
        );
        let fields = settled(&[("text", "prompt")]).unwrap();
        assert_eq!(
            (fields.text.as_str(), fields.prompt.as_str()),
            ("prompt", "")
        );
        let fields = settled(&[("completion", "text"), ("text", "body")]).unwrap();
        assert_eq!(
            (fields.completion.as_str(), fields.text.as_str()),
            ("text", "body")
        );
        assert_eq!(settled(&[]).unwrap(), Fields::default());
        assert_eq!(settled(&[("input", ""), ("label", "")]).unwrap().label, "");
        let error = settled(&[("prompt", "input"), ("input", "input")]).unwrap_err();
        assert!(
            error.starts_with("data.fields.prompt and data.fields.input are both `input`"),
            "{error}"
        );
    }
}
