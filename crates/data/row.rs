//! A row of a data file.

use crate::{Error, Result};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::Arc;

/// A row of a data file, with its location.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The file.
    pub path: Arc<Path>,
    /// The line on which it starts, or the row number in a Parquet file, counted from 1.
    pub line: usize,
    /// Its fields. A document of a plain text file has the single field `text`.
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
        // An empty field name in the settings means that there is no such field.
        let value = self.fields.get(name).filter(|_| !name.is_empty());
        value.filter(|value| !value.is_null())
    }

    /// A field that must be a string. None if it is missing or null.
    ///
    /// # Errors
    /// If the field is not a string.
    pub fn text(&self, name: &str) -> Result<Option<&str>> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(self.wrong_type(name, "a string", other)),
        }
    }

    /// A field that must be an array of token ids. None if it is missing or null.
    ///
    /// # Errors
    /// If the field is not an array of token ids.
    pub fn ids(&self, name: &str) -> Result<Option<Vec<u32>>> {
        self.get(name)
            .map(|value| {
                Vec::deserialize(value).map_err(|_| {
                    self.wrong_type(name, "an array of token ids (whole numbers from 0)", value)
                })
            })
            .transpose()
    }

    /// A field that must be a number, or a string that parses as one (formats without types). None
    /// if it is missing, null or an empty cell.
    ///
    /// # Errors
    /// If the field is neither.
    pub fn number(&self, name: &str, expected: &str) -> Result<Option<f64>> {
        let found = match self.get(name) {
            None => return Ok(None),
            Some(Value::String(text)) if text.trim().is_empty() => return Ok(None),
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(value) => value.as_f64(),
        };
        match found.filter(|number| number.is_finite()) {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong_type(name, expected, &self.fields[name])),
        }
    }

    /// The error of a field with the wrong type.
    pub(crate) fn wrong_type(&self, name: &str, expected: &str, found: &Value) -> Error {
        let advice = match found {
            Value::String(text) if expected.starts_with("an array") && looks_like_array(text) => {
                ARRAY_AS_TEXT
            }
            _ => "",
        };
        self.error(format!(
            "field `{name}` must be {expected}, not {}{advice}",
            describe(found)
        ))
    }

    /// The error of a row that has none of these fields. It lists the fields that the row has.
    pub(crate) fn missing_fields(&self, names: &[&str]) -> Error {
        let mut message = names
            .iter()
            .filter(|name| !name.is_empty() && **name != "_ids")
            .map(|name| {
                if self.fields.contains_key(*name) {
                    format!("field `{name}` is null")
                } else {
                    format!("no field `{name}`")
                }
            })
            .collect::<Vec<_>>()
            .join(" and ");
        if message.is_empty() {
            message = "a required field has no name: set it in data.fields".into();
        }
        let others: Vec<_> = self.fields.keys().map(|key| format!("`{key}`")).collect();
        message += &if others.is_empty() {
            " in this row, which has no fields".to_string()
        } else {
            format!(" in this row, which has {}", others.join(", "))
        };
        self.error(message)
    }
}

/// Advice for arrays written as text, as in every CSV or TSV file.
pub(crate) const ARRAY_AS_TEXT: &str =
    ": an array in a table cell or in quotes is text; use JSONL or Parquet, which have arrays";

/// Whether a string looks like an array.
pub(crate) fn looks_like_array(text: &str) -> bool {
    text.trim_start().starts_with('[')
}

/// The type of a value, and the value itself if it is short and not a string: an error must not
/// print the content of a file.
pub(crate) fn describe(value: &Value) -> String {
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
