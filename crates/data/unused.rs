//! Fields of rows that become no tokens.

use crate::chat::{ARGUMENTS, TOOLS};
use crate::{Fields, Row};
use serde_json::Value;
use std::collections::{BTreeSet, HashSet};

/// Names of fields that usually belong to a prompt.
const LIKE_PROMPTS: [&str; 7] = [
    "system",
    "system_prompt",
    "system_message",
    "history",
    "instruction",
    "context",
    "documents",
];

/// Gathers the names of fields that no text is made of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unused {
    seen: HashSet<String>,
    pub(crate) names: BTreeSet<String>,
}

impl Unused {
    /// Looks at the fields of a row whose names were not seen before.
    pub(crate) fn visit(&mut self, row: &Row, fields: &Fields) {
        for name in row.fields.keys() {
            if !self.seen.contains(name) && row.get(name).is_some() {
                self.seen.insert(name.clone());
                if !is_used(row, fields, name) {
                    self.names.insert(name.clone());
                }
            }
        }
    }
}

/// What is to be said of such fields.
pub(crate) fn sentence(names: &BTreeSet<String>) -> Option<String> {
    if names.is_empty() {
        return None;
    }
    let list = |names: Vec<&String>| {
        let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        quoted.join(", ")
    };
    let prompts = names
        .iter()
        .filter(|name| LIKE_PROMPTS.contains(&name.as_str()));
    let prompts: Vec<_> = prompts.collect();
    let advice = match prompts.is_empty() {
        true => String::new(),
        false => format!(
            "; if {} belongs to the prompt, write it there, or give conversations",
            list(prompts)
        ),
    };
    Some(format!(
        "fields that no prompt or completion is made of: {}; a reward may read them{advice}",
        list(names.iter().collect())
    ))
}

/// Whether text of a row is made of a field, or the field says how.
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
    if is(&fields.input) {
        return matches!(prompt, Some(Value::String(_)));
    }
    fields.is_read(name) || is(&fields.label) || is(&fields.scores) || name == "margin"
}

fn is_conversation(value: &Value) -> bool {
    let first = value.as_array().and_then(|messages| messages.first());
    first.is_some_and(|message| message.get("role").is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::path::Path;

    #[test]
    fn what_is_left_over_is_named() {
        let unused = |row: Value| {
            let row = Row {
                path: Path::new("x").into(),
                line: 1,
                fields: row.as_object().cloned().unwrap(),
            };
            let mut unused = Unused::default();
            unused.visit(&row, &Fields::default());
            unused.names.into_iter().collect::<Vec<_>>()
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
        let said = sentence(&names).unwrap();
        assert!(
            said.contains("`id`, `system`") && said.contains("if `system` belongs"),
            "{said}"
        );
    }
}
