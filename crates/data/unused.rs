//! Finds fields of rows that are not tokenized.

use crate::chat::{ARGUMENTS, TOOLS};
use crate::shapes::{Shape, has};
use crate::{Fields, ItemKind, Notes, Row, RowRequirement};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// How rows are used.
pub(crate) struct RowUse<'a> {
    pub(crate) fields: &'a Fields,
    pub(crate) kind: ItemKind,
    pub(crate) requirements: &'a [Arc<dyn RowRequirement>],
}

/// Collects the fields that are not part of any text.
#[derive(Debug, Clone, Default)]
pub(crate) struct UnusedFields {
    /// Hashes of the field names of rows seen so far.
    seen: HashSet<u64>,
    names: BTreeSet<String>,
    ignored: BTreeSet<String>,
    reported: BTreeSet<String>,
}

impl UnusedFields {
    /// Inspects a row, unless one with the same fields was seen before.
    pub(crate) fn visit(&mut self, row: &Row, row_use: &RowUse<'_>) {
        let mut hasher = DefaultHasher::new();
        for (name, _) in row.fields.iter().filter(|(_, value)| !value.is_null()) {
            name.hash(&mut hasher);
        }
        // Some fields are used with a text prompt but not with a conversation.
        let prompt = row.get(&row_use.fields.prompt);
        prompt.is_some_and(Value::is_string).hash(&mut hasher);
        if !self.seen.insert(hasher.finish()) {
            return;
        }
        for name in row.fields.keys().filter(|name| row.get(name).is_some()) {
            if row_use.requirements.iter().any(|need| need.field() == name) {
                continue;
            }
            if let Some(other) = read_instead(row, row_use, name) {
                self.ignored.insert(format!(
                    "`{name}` is ignored in rows that have `{other}`, which is read instead"
                ));
            } else if !is_used(row, row_use.fields, name) {
                self.names.insert(name.clone());
            }
        }
    }

    /// Adds what was found since the last call to the notes.
    pub(crate) fn report(&mut self, notes: &mut Notes) {
        for (found, noted) in [
            (&mut self.names, &mut notes.unused_fields),
            (&mut self.ignored, &mut notes.ignored_fields),
        ] {
            for words in std::mem::take(found) {
                if self.reported.insert(words.clone()) {
                    noted.insert(words);
                }
            }
        }
    }
}

/// The field that is read instead of this one, if any.
fn read_instead<'a>(row: &Row, row_use: &RowUse<'a>, name: &str) -> Option<Cow<'a, str>> {
    let RowUse { fields, kind, .. } = row_use;
    let ids = format!("{name}_ids");
    if row.get(&ids).is_some() && fields.has_text(name) {
        return Some(ids.into());
    }
    let bare = name.strip_suffix("_ids").unwrap_or(name);
    let is_one = |of: &[&String]| of.iter().any(|field| !field.is_empty() && bare == **field);
    let Fields {
        chosen,
        rejected,
        completion,
        text,
        messages,
        responses,
        scores,
        ..
    } = fields;
    let other = match kind {
        // Prompts can be read from rows of any shape.
        ItemKind::Prompts => return None,
        ItemKind::Pairs if has(row, chosen) || has(row, rejected) => (
            chosen,
            is_one(&[completion, responses, scores, text, messages]),
        ),
        ItemKind::Pairs => (responses, is_one(&[completion, text, messages])),
        ItemKind::Demonstrations if Shape::of(row, fields) == Some(Shape::Text) => {
            (text, has(row, text) && is_one(&[messages]))
        }
        ItemKind::Demonstrations | ItemKind::Completions | ItemKind::Unpaired => (
            completion,
            is_one(&[chosen, rejected, responses, scores, text, messages]),
        ),
    };
    let (other, ignored) = other;
    ignored.then(|| other.as_str().into())
}

/// Whether a field becomes text of the row, or changes how it is read.
fn is_used(row: &Row, fields: &Fields, name: &str) -> bool {
    let bare = name.strip_suffix("_ids").unwrap_or(name);
    let is = |field: &String| !field.is_empty() && (bare == field || name == field);
    let prompt = row.get(&fields.prompt);
    let alone = prompt.is_none() && row.get(&format!("{}_ids", fields.prompt)).is_none();
    if is(&fields.text) || is(&fields.messages) {
        return alone;
    }
    if name == TOOLS || name == ARGUMENTS {
        return row.fields.values().any(is_conversation);
    }
    // The input is only read as text, after a prompt that is a string.
    if is(&fields.input) {
        let ids = row.get(&format!("{}_ids", fields.prompt));
        return *name == fields.input && ids.is_none() && prompt.is_some_and(Value::is_string);
    }
    fields.is_read(name)
        || *name == fields.label
        || *name == fields.scores
        || matches!(name, "margin" | "weight")
}

fn is_conversation(value: &Value) -> bool {
    let first = value.as_array().and_then(|messages| messages.first());
    first.is_some_and(|message| message.get("role").is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UnusedFieldReader;
    use crate::notes::unused_sentence;
    use serde_json::json;
    use std::path::Path;

    #[test]
    fn unused_fields_are_listed() {
        let look = |row: Value, kind: ItemKind| {
            let row = Row {
                path: Path::new("x").into(),
                line: 1,
                fields: row.as_object().cloned().unwrap(),
            };
            let (mut unused, mut notes) = (UnusedFields::default(), Notes::default());
            let row_use = RowUse {
                fields: &Fields::default(),
                kind,
                requirements: &[],
            };
            unused.visit(&row, &row_use);
            unused.report(&mut notes);
            notes
        };
        let unused = |row: Value| {
            let notes = look(row, ItemKind::Prompts);
            notes.unused_fields.into_iter().collect::<Vec<_>>()
        };
        let chat = json!([{"role": "user", "content": "x"}]);
        assert_eq!(
            unused(json!({"prompt": "x", "input": "y", "label": 1})),
            [""; 0]
        );
        assert_eq!(
            unused(json!({"prompt": "x", "system": "y", "gone": null})),
            ["system"]
        );
        assert_eq!(
            unused(json!({"prompt": chat, "input": "y", "tools": []})),
            ["input"]
        );
        assert_eq!(
            unused(json!({"prompt": "x", "tools": [], "messages": chat})),
            ["messages"]
        );
        assert_eq!(unused(json!({"messages": chat, "tools": []})), [""; 0]);
        assert_eq!(
            unused(json!({"prompt_ids": [1], "completion_ids": [2], "text": "z"})),
            ["text"]
        );
        let names = ["id".to_string(), "system".into()].into();
        let said = unused_sentence(&names, UnusedFieldReader::Reward).unwrap();
        assert!(
            said.contains("`id`, `system`; a reward may read them; if `system` belongs"),
            "{said}"
        );
        let said = unused_sentence(&names, UnusedFieldReader::Nobody).unwrap();
        assert!(!said.contains("reward"), "{said}");
        let pair = |more: &str| json!({"prompt": "x", "chosen": "a", "rejected": "b", more: "c"});
        for (row, kind, ignored, other) in [
            (
                json!({"text": "x", "messages": chat}),
                ItemKind::Demonstrations,
                "messages",
                "text",
            ),
            (pair("completion"), ItemKind::Pairs, "completion", "chosen"),
            (
                pair("completion"),
                ItemKind::Demonstrations,
                "chosen",
                "completion",
            ),
            (
                json!({"prompt": "x", "prompt_ids": [1]}),
                ItemKind::Prompts,
                "prompt",
                "prompt_ids",
            ),
            (
                json!({"prompt": "x", "completion": "y", "responses": [], "scores": []}),
                ItemKind::Pairs,
                "completion",
                "responses",
            ),
        ] {
            let said = look(row, kind).ignored_fields;
            let words = format!(
                "`{ignored}` is ignored in rows that have `{other}`, which is read instead"
            );
            assert!(said.contains(&words), "{said:?}");
        }
        assert!(
            look(pair("topic"), ItemKind::Pairs)
                .ignored_fields
                .is_empty()
        );
    }
}
