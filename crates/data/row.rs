//! A row of a data file.

use crate::{Error, Result};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::Arc;

/// A row of a data file, which remembers where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The file.
    pub path: Arc<Path>,
    /// The line on which it starts, or its number in a Parquet file, counted from 1.
    pub line: usize,
    /// Its fields. A document of a plain text file has one, `text`.
    pub fields: Map<String, Value>,
}

impl Row {
    /// An error about this row.
    #[must_use]
    pub fn error(&self, message: impl Into<String>) -> Error {
        Error::row(&self.path, self.line, message)
    }

    /// A field, unless it is missing or null.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        // A column without a name is nobody's: an empty setting says that there is no such field.
        let value = self.fields.get(name).filter(|_| !name.is_empty());
        value.filter(|value| !value.is_null())
    }

    /// A field that must be a string, if the row has it.
    ///
    /// # Errors
    /// If it is something else.
    pub fn text(&self, name: &str) -> Result<Option<&str>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong(name, "a string", other)),
        }
    }

    /// A field that must be an array of token ids, if the row has it.
    ///
    /// # Errors
    /// If it is something else.
    pub fn ids(&self, name: &str) -> Result<Option<Vec<u32>>> {
        self.get(name)
            .map(|value| {
                Vec::deserialize(value).map_err(|_| {
                    self.wrong(name, "an array of token ids (whole numbers from 0)", value)
                })
            })
            .transpose()
    }

    /// A field that must be a number, or a text that is one where a format has nothing but text, if the
    /// row has it; an empty cell of a table is none.
    ///
    /// # Errors
    /// If it is something else.
    pub fn number(&self, name: &str, expected: &str) -> Result<Option<f64>> {
        let found = match self.get(name) {
            None => return Ok(None),
            Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(value) => value.as_f64(),
        };
        match found.filter(|number| number.is_finite()) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(name, expected, &self.fields[name])),
        }
    }

    /// That a field is not what it must be.
    pub(crate) fn wrong(&self, name: &str, expected: &str, found: &Value) -> Error {
        let advice = match found {
            Value::String(text) if expected.starts_with("an array") && is_like_array(text) => {
                ARRAYS
            }
            _ => "",
        };
        self.error(format!(
            "field `{name}` must be {expected}, not {}{advice}",
            brief(found)
        ))
    }

    /// That none of these fields is there, and what is.
    pub(crate) fn lacks(&self, names: &[&str]) -> Error {
        let mut message = names
            .iter()
            .filter(|name| !name.is_empty() && **name != "_ids")
            .map(|name| match self.fields.contains_key(*name) {
                true => format!("field `{name}` is null"),
                false => format!("no field `{name}`"),
            })
            .collect::<Vec<_>>()
            .join(" and ");
        if message.is_empty() {
            message = "a field that is needed has no name (data.fields)".into();
        }
        let others: Vec<_> = self.fields.keys().map(|key| format!("`{key}`")).collect();
        message += &match others.is_empty() {
            true => " in this row, which has none".to_string(),
            false => format!(" in this row, which has {}", others.join(", ")),
        };
        self.error(message)
    }
}

/// What helps where an array is written as text, which it is in every table.
pub(crate) const ARRAYS: &str =
    ": an array in a cell or in quotes is text; use JSONL or Parquet, which have arrays";

/// Whether a text is an array to a reader of it.
pub(crate) fn is_like_array(text: &str) -> bool {
    text.trim_start().starts_with('[')
}

/// The kind of a value, with the value itself where it is short and no text: an error must not
/// print what a file says.
pub(crate) fn brief(value: &Value) -> String {
    match value {
        Value::String(_) => "a string".into(),
        Value::Array(items) => match items.first() {
            None => "an empty array".into(),
            Some(first) => format!("an array of {}", kind(first)),
        },
        Value::Object(_) => "an object".into(),
        other => format!("{other:.40}"),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nulls",
        Value::Bool(_) => "booleans",
        Value::Number(_) => "numbers",
        Value::String(_) => "strings",
        Value::Array(_) => "arrays",
        Value::Object(_) => "objects",
    }
}
