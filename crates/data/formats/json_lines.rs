//! Reads one JSON object per line.

use crate::formats::bytes::{Input, utf8};
use crate::formats::{Facts, Located, RowReader};
use crate::row::describe;
use crate::{Error, Result, Row};
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::Arc;

/// The rows of a JSONL file. Blank lines are skipped.
pub(crate) struct JsonLinesReader {
    input: Input,
    line: Vec<u8>,
}

impl JsonLinesReader {
    pub(crate) fn new(input: Input) -> Self {
        Self {
            input,
            line: Vec::new(),
        }
    }
}

impl RowReader for JsonLinesReader {
    fn next(&mut self) -> Option<Result<Located>> {
        loop {
            let line = match self.input.next_line(&mut self.line)? {
                Ok(line) => line,
                Err(error) => return Some(Err(error)),
            };
            if self.line.trim_ascii().is_empty() {
                continue;
            }
            let row = parse(self.input.path(), line.number, &self.line);
            return Some(row.map(|row| Located {
                row,
                offset: line.offset,
            }));
        }
    }

    fn facts(&self) -> Facts {
        self.input.facts()
    }
}

/// Parses a row from its JSON.
pub(crate) fn parse(path: &Arc<Path>, line: usize, bytes: &[u8]) -> Result<Row> {
    let text = utf8(path, line, bytes)?;
    match serde_json::from_str::<Map<String, Value>>(text) {
        Ok(fields) => Ok(Row {
            path: path.clone(),
            line,
            fields,
        }),
        Err(error) => match serde_json::from_str::<Value>(text) {
            Ok(other) => {
                let message = format!("expected a JSON object, found {}", describe(&other));
                Err(Error::row(path, line, message))
            }
            Err(_) => Err(Error::row(path, line, format!("not JSON: {error}"))),
        },
    }
}
