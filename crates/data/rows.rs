//! A data file as rows that remember where they stand.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::Arc;

/// What one document of a plain text file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Documents {
    /// Lines up to the next blank line.
    #[default]
    Paragraphs,
    /// Each line that is not blank.
    Lines,
}

/// A row of a data file.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The file.
    pub path: Arc<Path>,
    /// The line on which it starts, counted from 1.
    pub line: usize,
    /// Its fields. A document of a plain text file has one, `text`.
    pub fields: Map<String, Value>,
}

impl Row {
    /// An error about this row.
    #[must_use]
    pub fn error(&self, message: impl Into<String>) -> Error {
        Error::Row {
            path: self.path.to_path_buf(),
            line: self.line,
            message: message.into(),
        }
    }

    /// A field that must be a string, if the row has it.
    ///
    /// # Errors
    /// If it is something else.
    pub fn text(&self, name: &str) -> Result<Option<&str>> {
        match self.fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => {
                Err(self.error(format!("field `{name}` must be a string, not {other:.40}")))
            }
        }
    }

    /// A field that must be an array of token ids, if the row has it.
    ///
    /// # Errors
    /// If it is something else.
    pub fn ids(&self, name: &str) -> Result<Option<Vec<u32>>> {
        match self.fields.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => Vec::deserialize(value).map(Some).map_err(|_| {
                self.error(format!(
                    "field `{name}` must be an array of token ids (whole numbers from 0)"
                ))
            }),
        }
    }

    /// A field that must say yes or no: a boolean, 0 or 1, or such a word where a format has nothing
    /// but text.
    ///
    /// # Errors
    /// If it is missing or something else.
    pub fn label(&self, name: &str) -> Result<bool> {
        match self.fields.get(name) {
            None | Some(Value::Null) => {
                Err(self.error(format!("no field `{name}` (true or false)")))
            }
            Some(Value::Bool(label)) => Ok(*label),
            Some(Value::Number(number)) if number.as_u64() == Some(1) => Ok(true),
            Some(Value::Number(number)) if number.as_u64() == Some(0) => Ok(false),
            Some(Value::String(word)) if matches!(word.as_str(), "true" | "True" | "1") => Ok(true),
            Some(Value::String(word)) if matches!(word.as_str(), "false" | "False" | "0") => {
                Ok(false)
            }
            Some(other) => Err(self.error(format!(
                "field `{name}` must be true or false, not {other:.40}"
            ))),
        }
    }
}

/// Reads a file: `.txt` as documents; anything else as one JSON object a line, or as one JSON array
/// of objects.
///
/// # Errors
/// If the file cannot be read, holds no row, or a row is not a JSON object.
pub fn rows(path: &Path, documents: Documents) -> Result<Vec<Row>> {
    let text = std::fs::read_to_string(path).map_err(|source| Error::Io {
        path: path.into(),
        source,
    })?;
    let shared: Arc<Path> = path.into();
    let rows = if path.extension().is_some_and(|extension| extension == "txt") {
        plain(&shared, &text, documents)
    } else if text.trim_start().starts_with('[') {
        array(&shared, &text)?
    } else {
        lines(&shared, &text)?
    };
    if rows.is_empty() {
        return Err(Error::File {
            path: path.into(),
            message: "holds no row".into(),
        });
    }
    Ok(rows)
}

fn object(path: &Arc<Path>, line: usize, parsed: serde_json::Result<Value>) -> Result<Row> {
    let mut row = Row {
        path: path.clone(),
        line,
        fields: Map::new(),
    };
    match parsed {
        Ok(Value::Object(fields)) => {
            row.fields = fields;
            Ok(row)
        }
        Ok(other) => Err(row.error(format!("expected a JSON object, found {other:.40}"))),
        Err(error) => Err(row.error(format!("not JSON: {error}"))),
    }
}

fn lines(path: &Arc<Path>, text: &str) -> Result<Vec<Row>> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(index, line)| object(path, index + 1, serde_json::from_str(line)))
        .collect()
}

fn array(path: &Arc<Path>, text: &str) -> Result<Vec<Row>> {
    let values: Vec<Value> = serde_json::from_str(text).map_err(|error| Error::Row {
        path: path.to_path_buf(),
        line: error.line(),
        message: format!("not a JSON array: {error}"),
    })?;
    let starts = element_lines(text);
    values
        .into_iter()
        .zip(starts)
        .map(|(value, line)| object(path, line, Ok(value)))
        .collect()
}

/// The line on which each element of a valid JSON array starts.
fn element_lines(text: &str) -> Vec<usize> {
    let (mut starts, mut line, mut depth) = (Vec::new(), 1, 0);
    let (mut in_string, mut escaped, mut expecting) = (false, false, false);
    for byte in text.bytes() {
        let new = depth == 1 && expecting && !byte.is_ascii_whitespace() && byte != b']';
        if new {
            starts.push(line);
            expecting = false;
        }
        if in_string {
            in_string = byte != b'"' || escaped;
            escaped = byte == b'\\' && !escaped;
        } else {
            match byte {
                b'"' => in_string = true,
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth -= 1,
                _ => {}
            }
            expecting |= depth == 1 && (byte == b',' || (byte == b'[' && starts.is_empty()));
        }
        line += usize::from(byte == b'\n');
    }
    starts
}

fn plain(path: &Arc<Path>, text: &str, documents: Documents) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut open: Vec<&str> = Vec::new();
    let mut start = 1;
    let mut close = |open: &mut Vec<&str>, start: usize| {
        if !open.is_empty() {
            let fields = Map::from_iter([("text".to_string(), open.join("\n").into())]);
            open.clear();
            rows.push(Row {
                path: path.clone(),
                line: start,
                fields,
            });
        }
    };
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() || documents == Documents::Lines {
            close(&mut open, start);
        }
        if !line.trim().is_empty() {
            if open.is_empty() {
                start = index + 1;
            }
            open.push(line);
        }
    }
    close(&mut open, start);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, content: &str, documents: Documents) -> Result<Vec<Row>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        rows(&path, documents)
    }

    #[test]
    fn json_lines_and_arrays_know_their_lines() {
        let content = "{\"a\": 1}\n\n{\"a\": 2}\n";
        let found = read("x.jsonl", content, Documents::Lines).unwrap();
        assert_eq!(found.iter().map(|row| row.line).collect::<Vec<_>>(), [1, 3]);
        let content = "[{\"a\": \"[,\\\"{\"},\n {\"a\": [1,\n2]},\n\n{\"b\": {\"c\": []}}, {}\n]\n";
        let found = read("x.json", content, Documents::Lines).unwrap();
        let lines: Vec<_> = found.iter().map(|row| row.line).collect();
        assert_eq!(lines, [1, 2, 5, 5]);
    }

    #[test]
    fn plain_text_is_documents() {
        let content = "one\ntwo\n\n\nthree\r\n";
        let texts = |documents| -> Vec<(usize, String)> {
            let rows = read("x.txt", content, documents).unwrap();
            let text = |row: &Row| row.text("text").unwrap().unwrap().to_string();
            rows.iter().map(|row| (row.line, text(row))).collect()
        };
        let (one, two, three) = ("one".to_string(), "two".to_string(), "three".to_string());
        let paragraphs = texts(Documents::Paragraphs);
        assert_eq!(paragraphs, [(1, "one\ntwo".into()), (5, three.clone())]);
        assert_eq!(texts(Documents::Lines), [(1, one), (2, two), (5, three)]);
    }

    #[test]
    fn errors_name_the_line() {
        for (name, content, expected) in [
            (
                "x.jsonl",
                "{\"a\": 1}\n{\"a\": \n",
                "x.jsonl:2: not JSON: EOF",
            ),
            (
                "x.jsonl",
                "3\n",
                "x.jsonl:1: expected a JSON object, found 3",
            ),
            ("x.json", "[{},\n{,}]", "x.json:2: not a JSON array"),
            (
                "x.json",
                "[\n 7]",
                "x.json:2: expected a JSON object, found 7",
            ),
            ("x.jsonl", "\n", "x.jsonl: holds no row"),
        ] {
            let error = read(name, content, Documents::Lines)
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
