//! Guesses field names that are common in data sets.

use crate::shapes::has;
use crate::{Fields, ItemKind, Row};

const PROMPTS: [&str; 6] = [
    "instruction",
    "question",
    "query",
    "problem",
    "input_text",
    "context",
];
const COMPLETIONS: [&str; 7] = [
    "answer",
    "response",
    "output",
    "solution",
    "target",
    "summary",
    "output_text",
];
const TEXTS: [&str; 3] = ["content", "document", "conversations"];

/// Renames the fields that a row lacks under their default names but has under a common one.
/// Returns the renames as settings.
pub(super) fn fields(fields: &mut Fields, row: &Row, kind: Option<ItemKind>) -> Vec<String> {
    let known = Fields::default();
    let mut named = Vec::new();
    let mut name = |field: &mut String, default: &String, key: &str, others: &[&str]| {
        if field != default || has(row, field) {
            return;
        }
        if let Some(other) = others.iter().find(|other| has(row, other)) {
            *field = (*other).to_string();
            named.push(format!("data.fields.{key}={other}"));
        }
    };
    name(&mut fields.prompt, &known.prompt, "prompt", &PROMPTS);
    if kind == Some(ItemKind::Prompts) {
        return named;
    }
    if has(row, &fields.prompt) && !has(row, &fields.chosen) {
        let completion = &mut fields.completion;
        name(completion, &known.completion, "completion", &COMPLETIONS);
    }
    if !has(row, &fields.prompt) && !has(row, &fields.chosen) && !has(row, &fields.messages) {
        name(&mut fields.text, &known.text, "text", &TEXTS);
    }
    named
}
