//! Splits plain text into documents.

use crate::formats::bytes::{Input, utf8};
use crate::formats::{Documents, Facts, LONGEST_ROW, Located, ReadOptions, RowReader};
use crate::{Error, Result, Row};
use serde_json::Map;
use std::path::Path;
use std::sync::Arc;

/// Where documents end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DocumentEnds {
    documents: Documents,
    /// A text that ends a document wherever it occurs and is not part of it.
    separator: Option<Arc<[u8]>>,
}

impl DocumentEnds {
    pub(crate) fn new(options: &ReadOptions) -> Self {
        let separator = options.separator.as_ref();
        Self {
            documents: options.documents,
            separator: separator
                .filter(|text| !text.is_empty())
                .map(|text| text.as_bytes().into()),
        }
    }

    /// The start and end of the first separator in a line.
    fn find(&self, line: &[u8]) -> Option<(usize, usize)> {
        let separator = self.separator.as_deref()?;
        let start = line
            .windows(separator.len())
            .position(|window| window == separator)?;
        Some((start, start + separator.len()))
    }

    /// The document at the start of these bytes, as it was read the first time.
    pub(crate) fn first(&self, bytes: &[u8]) -> Vec<u8> {
        let mut document = DocumentBuilder::new(self.documents);
        for line in bytes.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let found = self.find(line);
            let end = found.map_or(line.len(), |(start, _)| start);
            if document.take(&line[..end], found.is_some()) == DocumentState::Complete {
                break;
            }
        }
        document.finish().unwrap_or_default()
    }
}

/// Builds a document line by line.
struct DocumentBuilder {
    documents: Documents,
    text: Option<Vec<u8>>,
}

/// Whether a document continues.
#[derive(PartialEq)]
enum DocumentState {
    Open,
    Complete,
}

impl DocumentBuilder {
    fn new(documents: Documents) -> Self {
        Self {
            documents,
            text: None,
        }
    }

    /// Adds a line, or the part of it before a separator.
    fn take(&mut self, line: &[u8], ended: bool) -> DocumentState {
        let blank = line.trim_ascii().is_empty();
        match &mut self.text {
            None if blank => return DocumentState::Open,
            None => self.text = Some(line.to_vec()),
            Some(_) if blank && self.documents != Documents::Eos => return DocumentState::Complete,
            Some(text) => {
                text.push(b'\n');
                text.extend_from_slice(line);
            }
        }
        if ended || self.documents == Documents::Lines {
            DocumentState::Complete
        } else {
            DocumentState::Open
        }
    }

    /// The document, if there is one, without blank lines at its end.
    fn finish(self) -> Option<Vec<u8>> {
        let mut text = self.text?;
        if self.documents == Documents::Eos {
            text.truncate(text.trim_ascii_end().len());
        }
        Some(text)
    }
}

/// The documents of a plain text file.
pub(crate) struct TextReader {
    input: Input,
    ends: DocumentEnds,
    facts: Facts,
    line: Vec<u8>,
    /// The rest of a line after a separator: line number, offset and bytes.
    rest: Option<(usize, u64, Vec<u8>)>,
}

impl TextReader {
    pub(crate) fn new(input: Input, ends: DocumentEnds) -> Self {
        Self {
            input,
            ends,
            facts: Facts::default(),
            line: Vec::new(),
            rest: None,
        }
    }

    fn count(&mut self) {
        let tabs = self.line.iter().filter(|byte| **byte == b'\t').count();
        let same = self.facts.lines == 0 || self.facts.tabs == Some(tabs);
        self.facts.tabs = same.then_some(tabs);
        self.facts.lines += 1;
    }

    /// Reads the next line, or the part of it before a separator, into `line`. Returns its number,
    /// its offset and whether a separator follows.
    fn piece(&mut self) -> Option<Result<(usize, u64, bool)>> {
        let (number, offset) = match self.rest.take() {
            Some((number, offset, rest)) => {
                self.line = rest;
                (number, offset)
            }
            None => match self.input.next_line(&mut self.line)? {
                Err(error) => return Some(Err(error)),
                Ok(line) => (line.number, line.offset),
            },
        };
        let found = self.ends.find(&self.line);
        if let Some((start, end)) = found {
            let rest = self.line[end..].to_vec();
            self.rest = Some((number, offset + end as u64, rest));
            self.line.truncate(start);
            self.facts.separators += 1;
        }
        Some(Ok((number, offset, found.is_some())))
    }

    /// The bytes of the next document, its lines separated by LF.
    fn gather(&mut self) -> Option<Result<(usize, u64, Vec<u8>)>> {
        let mut document = DocumentBuilder::new(self.ends.documents);
        let mut start = None;
        loop {
            let (number, offset, ended) = match self.piece() {
                None => break,
                Some(Err(error)) => return Some(Err(error)),
                Some(Ok(piece)) => piece,
            };
            let before = document.text.as_ref().map_or(0, Vec::len);
            if before + self.line.len() > LONGEST_ROW {
                let path = self.input.path();
                return Some(Err(document_too_long(
                    path,
                    start.map_or(number, |(line, _)| line),
                )));
            }
            let blank = self.line.trim_ascii().is_empty();
            if !blank {
                start.get_or_insert((number, offset));
                self.count();
            }
            if document.take(&self.line, ended) == DocumentState::Complete {
                self.facts.blank_line_ends += usize::from(blank && !ended);
                break;
            }
        }
        let (number, offset) = start?;
        document.finish().map(|text| Ok((number, offset, text)))
    }
}

/// Not a row error: if one document is too long, the file is not split as the settings say.
fn document_too_long(path: &Path, line: usize) -> Error {
    let message = format!(
        "the document that starts in line {line} is longer than {} MiB: set data.documents = \
         \"lines\", or separate documents by blank lines",
        LONGEST_ROW >> 20
    );
    Error::file(path, message)
}

impl RowReader for TextReader {
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
            ..self.facts.clone()
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
