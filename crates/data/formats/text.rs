//! Plain text as documents.

use crate::formats::bytes::{Input, utf8};
use crate::formats::{Documents, Facts, LONGEST_ROW, Located, RowReader};
use crate::{Error, Result, Row};
use serde_json::Map;
use std::path::Path;
use std::sync::Arc;

/// The documents of a plain text file.
pub(crate) struct Documented {
    input: Input,
    documents: Documents,
    facts: Facts,
    line: Vec<u8>,
}

impl Documented {
    pub(crate) fn new(input: Input, documents: Documents) -> Self {
        Self {
            input,
            documents,
            facts: Facts::default(),
            line: Vec::new(),
        }
    }

    fn count(&mut self) {
        let tabs = self.line.iter().filter(|byte| **byte == b'\t').count();
        let same = self.facts.lines == 0 || self.facts.tabs == Some(tabs);
        self.facts.tabs = same.then_some(tabs);
        self.facts.lines += 1;
    }

    /// The bytes of the next document, its lines parted by LF.
    fn gather(&mut self) -> Option<Result<(usize, u64, Vec<u8>)>> {
        let mut found: Option<(usize, u64, Vec<u8>)> = None;
        loop {
            let line = match self.input.next_line(&mut self.line) {
                None => return found.map(Ok),
                Some(Err(error)) => return Some(Err(error)),
                Some(Ok(line)) => line,
            };
            if self.line.trim_ascii().is_empty() {
                match found {
                    Some(found) => return Some(Ok(found)),
                    None => continue,
                }
            }
            self.count();
            match &mut found {
                None => found = Some((line.number, line.offset, self.line.clone())),
                Some((number, _, text)) => {
                    if text.len() + self.line.len() > LONGEST_ROW {
                        let path = self.input.path();
                        return Some(Err(endless(path, *number)));
                    }
                    text.push(b'\n');
                    text.extend_from_slice(&self.line);
                }
            }
            if self.documents == Documents::Lines {
                return found.map(Ok);
            }
        }
    }
}

/// A paragraph without end is no row's error: the file is not made of paragraphs.
fn endless(path: &Path, line: usize) -> Error {
    let message = format!(
        "the paragraph that starts in line {line} is longer than {} MiB: set \
         data.documents = \"lines\", or part documents by blank lines",
        LONGEST_ROW >> 20
    );
    Error::file(path, message)
}

impl RowReader for Documented {
    fn next(&mut self) -> Option<Result<Located>> {
        let (line, offset, bytes) = match self.gather()? {
            Ok(found) => found,
            Err(error) => return Some(Err(error)),
        };
        let row = document(self.input.path(), line, &bytes);
        Some(row.map(|row| Located { row, offset }))
    }

    fn facts(&self) -> Facts {
        let Facts { bom, crlf, .. } = self.input.facts();
        Facts {
            bom,
            crlf,
            ..self.facts
        }
    }
}

/// A document as a row.
pub(crate) fn document(path: &Arc<Path>, line: usize, bytes: &[u8]) -> Result<Row> {
    let text = utf8(path, line, bytes)?;
    Ok(Row {
        path: path.clone(),
        line,
        fields: Map::from_iter([("text".to_string(), text.into())]),
    })
}
