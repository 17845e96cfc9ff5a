//! Reads tables of text: CSV (RFC 4180) and tab-separated values.

use crate::formats::bytes::{Input, too_long, utf8};
use crate::formats::{Facts, Format, LONGEST_ROW, Located, RowReader};
use crate::{Error, Result, Row};
use csv::{ByteRecord, Reader, ReaderBuilder, Terminator};
use serde_json::{Map, Value};
use std::path::Path;
use std::sync::Arc;

/// The rows of a table. Every field is a string.
pub(crate) struct TableReader {
    reader: Reader<Input>,
    path: Arc<Path>,
    names: Vec<String>,
    /// Whether the column names were read from the first line.
    heading: bool,
    record: ByteRecord,
    finished: bool,
}

impl TableReader {
    /// Reads the heading from the first line, unless column names are given.
    pub(crate) fn new(input: Input, format: Format, names: &[String]) -> Result<Self> {
        let tabs = format == Format::Tsv;
        let path = input.path().clone();
        let mut reader = ReaderBuilder::new()
            .delimiter(if tabs { b'\t' } else { b',' })
            .quoting(!tabs)
            .flexible(true)
            // A CR before the LF is stripped below: the library counts lines by the record
            // terminator.
            .terminator(Terminator::Any(b'\n'))
            .has_headers(false)
            .from_reader(input);
        let mut record = ByteRecord::new();
        let mut names = names.to_vec();
        let heading = names.is_empty();
        if heading {
            reader
                .read_byte_record(&mut record)
                .map_err(|error| broken(&path, error))?;
            for name in &record {
                names.push(utf8(&path, 1, name)?.trim().to_string());
            }
        }
        let mut sorted = names.clone();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            let message = format!(
                "two columns are named `{}`: is the first line a heading? If not, name the columns \
                 (data.columns)",
                pair[0]
            );
            return Err(Error::file(&path, message));
        }
        Ok(Self {
            reader,
            path,
            names,
            heading,
            record,
            finished: false,
        })
    }

    /// Whether the record is a blank line of a table that has several columns.
    fn is_blank(&self) -> bool {
        self.names.len() > 1 && self.record.len() == 1 && self.record[0].trim_ascii().is_empty()
    }

    fn row(&self) -> Result<Row> {
        let line = self.record.position().map_or(0, csv::Position::line) as usize;
        if self.record.as_slice().len() > LONGEST_ROW {
            return Err(too_long(&self.path, line, self.record.as_slice().len()));
        }
        let (found, expected) = (self.record.len(), self.names.len());
        if found != expected {
            let message = format!(
                "{found} columns, but the table has {expected} ({}): is a quote or a separator \
                 missing?",
                self.names.join(", ")
            );
            return Err(Error::row(&self.path, line, message));
        }
        let mut fields = Map::with_capacity(expected);
        for (index, (name, value)) in self.names.iter().zip(&self.record).enumerate() {
            let last = index + 1 == expected;
            let value = value.strip_suffix(b"\r").filter(|_| last).unwrap_or(value);
            let text = utf8(&self.path, line, value)?;
            fields.insert(name.clone(), Value::String(text.into()));
        }
        Ok(Row {
            path: self.path.clone(),
            line,
            fields,
        })
    }
}

impl RowReader for TableReader {
    fn next(&mut self) -> Option<Result<Located>> {
        if self.finished {
            return None;
        }
        loop {
            match self.reader.read_byte_record(&mut self.record) {
                Ok(true) if self.is_blank() => {}
                Ok(true) => return Some(self.row().map(|row| Located { row, offset: 0 })),
                Ok(false) => return None,
                Err(error) => {
                    self.finished = true;
                    return Some(Err(broken(&self.path, error)));
                }
            }
        }
    }

    fn facts(&self) -> Facts {
        Facts {
            heading: self.heading.then(|| self.names.clone()),
            ..self.reader.get_ref().facts()
        }
    }
}

/// The error of the underlying reader, or of the table.
fn broken(path: &Path, error: csv::Error) -> Error {
    let text = error.to_string();
    match error.into_kind() {
        csv::ErrorKind::Io(source) => match source.downcast::<Error>() {
            Ok(below) => below,
            Err(source) => Error::io(path, source),
        },
        _ => Error::file(path, text),
    }
}
