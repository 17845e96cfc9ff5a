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
        self.fields.get(name).filter(|value| !value.is_null())
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

    /// A field that must say yes or no: a boolean, 0 or 1, or such a word where a format has nothing
    /// but text.
    ///
    /// # Errors
    /// If it is missing or something else.
    pub fn label(&self, name: &str) -> Result<bool> {
        match self.get(name) {
            None => Err(self.error(format!("no field `{name}` (true or false)"))),
            Some(Value::Bool(label)) => Ok(*label),
            Some(Value::Number(number)) if number.as_f64() == Some(1.0) => Ok(true),
            Some(Value::Number(number)) if number.as_f64() == Some(0.0) => Ok(false),
            Some(Value::String(word)) if matches!(word.as_str(), "true" | "True" | "1") => Ok(true),
            Some(Value::String(word)) if matches!(word.as_str(), "false" | "False" | "0") => {
                Ok(false)
            }
            Some(other) => Err(self.wrong(name, "true or false", other)),
        }
    }

    /// That a field is not what it must be.
    pub(crate) fn wrong(&self, name: &str, expected: &str, found: &Value) -> Error {
        self.error(format!(
            "field `{name}` must be {expected}, not {}",
            brief(found)
        ))
    }

    /// That none of these fields is there, and what is.
    pub(crate) fn lacks(&self, names: &[&str]) -> Error {
        let mut message = names
            .iter()
            .map(|name| match self.fields.contains_key(*name) {
                true => format!("field `{name}` is null"),
                false => format!("no field `{name}`"),
            })
            .collect::<Vec<_>>()
            .join(" and ");
        let others: Vec<_> = self.fields.keys().map(|key| format!("`{key}`")).collect();
        message += &match others.is_empty() {
            true => " in this row, which has none".to_string(),
            false => format!(" in this row, which has {}", others.join(", ")),
        };
        self.error(message)
    }
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
