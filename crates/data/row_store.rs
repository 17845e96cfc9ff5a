//! Rows by their number, read when they are asked for.

use crate::formats::{Ends, Facts, Format, LONGEST_ROW, Located, Opened, document, parse};
use crate::source::Visitor;
use crate::{Error, Fields, Result, Row, Source, remarks};
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// The rows of files of any size. What is held in memory is where each row starts and its line, 12
/// bytes a row. Lines of JSON and plain text are read again from where they stand; what is compressed
/// or of another format is written once, as lines of JSON, to a temporary file (in `TMPDIR`, as large
/// as the rows uncompressed), which is gone when the process is.
#[derive(Debug, Default)]
pub struct RowStore {
    parts: Vec<Part>,
    offsets: Vec<u64>,
    lines: Vec<u32>,
}

/// The rows of one file.
#[derive(Debug)]
struct Part {
    path: Arc<Path>,
    /// The number of its first row.
    first: usize,
    /// The file itself, or a copy of its rows.
    file: File,
    writing: Writing,
    /// Where its rows end.
    end: u64,
    /// When it was changed last; `None` of a copy, which is ours.
    modified: Option<SystemTime>,
    facts: Facts,
}

/// How a part's rows are written down.
#[derive(Debug, Clone, PartialEq)]
enum Writing {
    /// One JSON object a line.
    Json,
    /// Plain text.
    Text(Ends),
}

impl RowStore {
    /// Goes through all rows of a source once. `bad` sees what is wrong with a row that cannot be
    /// read, and decides whether it is left out; `visit` sees every other one.
    ///
    /// # Errors
    /// If a file cannot be read to its end, or the temporary file cannot be written.
    pub fn open(
        source: &Source,
        bad: &mut dyn FnMut(Error) -> Result<()>,
        visit: &mut dyn FnMut(&Row),
    ) -> Result<Self> {
        let mut builder = Builder {
            store: Self::default(),
            ends: Ends::new(&source.options),
            copy: None,
            bad,
            visit,
        };
        source.visit(&mut builder)?;
        Ok(builder.store)
    }

    /// What a person should know of the files, where their fields have these names.
    #[must_use]
    pub fn remarks(&self, fields: &Fields) -> Vec<String> {
        let parts = self.parts.iter();
        parts
            .flat_map(|part| remarks::of(&part.path, &part.facts, fields))
            .collect()
    }

    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// The rows of these numbers, in this order.
    ///
    /// # Errors
    /// If a file was changed since it was opened, or cannot be read.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn rows(&mut self, numbers: &[u32]) -> Result<Vec<Row>> {
        for part in &self.parts {
            part.check_unchanged()?;
        }
        numbers
            .iter()
            .map(|number| self.row(*number as usize))
            .collect()
    }

    /// How many bytes a row has where it stands.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    pub fn bytes(&self, number: u32) -> u64 {
        let (_, start, end) = self.place(number as usize);
        end - start
    }

    /// The part that a row is in, and where it starts and ends there.
    fn place(&self, number: usize) -> (usize, u64, u64) {
        let index = self.parts.partition_point(|part| part.first <= number) - 1;
        let next = self.offsets.get(number + 1);
        let last = self
            .parts
            .get(index + 1)
            .is_some_and(|part| part.first == number + 1);
        let end = next.filter(|_| !last).copied();
        let end = end.unwrap_or(self.parts[index].end);
        (index, self.offsets[number], end)
    }

    fn row(&mut self, number: usize) -> Result<Row> {
        let (index, start, end) = self.place(number);
        let part = &mut self.parts[index];
        // What stands between two rows may be a line too long to be one.
        let length = (end - start).min(LONGEST_ROW as u64 + 2);
        let mut bytes = vec![0; length as usize];
        let mut read = || {
            part.file.seek(SeekFrom::Start(start))?;
            part.file.read_exact(&mut bytes)
        };
        read().map_err(|source| Error::io(&part.path, source))?;
        let line = self.lines[number] as usize;
        match &part.writing {
            Writing::Json => parse(&part.path, line, first_line(&bytes)),
            Writing::Text(ends) => document(&part.path, line, &ends.first(&bytes)),
        }
    }
}

impl Part {
    /// Numbers of rows mean nothing in a file that was changed.
    fn check_unchanged(&self) -> Result<()> {
        let Some(modified) = self.modified else {
            return Ok(());
        };
        let metadata = self.file.metadata();
        let now = metadata.map_err(|source| Error::io(&self.path, source))?;
        match now.len() == self.end && now.modified().is_ok_and(|now| now == modified) {
            true => Ok(()),
            false => Err(Error::file(
                &self.path,
                "was changed while it was in use: start again",
            )),
        }
    }
}

fn first_line(bytes: &[u8]) -> &[u8] {
    let line = bytes
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Takes down where rows stand.
struct Builder<'a> {
    store: RowStore,
    ends: Ends,
    /// Where the rows of the file go, if they cannot be read where they stand.
    copy: Option<BufWriter<File>>,
    bad: &'a mut dyn FnMut(Error) -> Result<()>,
    visit: &'a mut dyn FnMut(&Row),
}

impl Visitor for Builder<'_> {
    fn open(&mut self, path: &Path, opened: &Opened) -> Result<()> {
        let error = |source| Error::io(path, source);
        let (file, writing) = match opened.in_place {
            true => {
                let writing = match opened.format {
                    Format::Text => Writing::Text(self.ends.clone()),
                    _ => Writing::Json,
                };
                (File::open(path).map_err(error)?, writing)
            }
            false => {
                let file = tempfile::tempfile().map_err(temporary)?;
                let copy = file.try_clone().map_err(temporary)?;
                self.copy = Some(BufWriter::new(copy));
                (file, Writing::Json)
            }
        };
        let metadata = file.metadata().map_err(error)?;
        self.store.parts.push(Part {
            path: path.into(),
            first: self.store.len(),
            writing,
            end: metadata.len(),
            modified: metadata.modified().ok().filter(|_| opened.in_place),
            file,
            facts: Facts::default(),
        });
        Ok(())
    }

    fn row(&mut self, located: Result<Located>) -> Result<()> {
        let Located { row, mut offset } = match located {
            Ok(located) => located,
            Err(error) => return (self.bad)(error),
        };
        (self.visit)(&row);
        if let (Some(copy), Some(part)) = (&mut self.copy, self.store.parts.last_mut()) {
            offset = part.end;
            let json = serde_json::to_vec(&row.fields);
            let mut json = json.map_err(|error| row.error(error.to_string()))?;
            json.push(b'\n');
            copy.write_all(&json).map_err(temporary)?;
            part.end += json.len() as u64;
        }
        let small = |number: usize| {
            let message = "more than 4 billion rows: use fewer";
            u32::try_from(number).map_err(|_| Error::file(&row.path, message))
        };
        small(self.store.len())?;
        self.store.lines.push(small(row.line)?);
        self.store.offsets.push(offset);
        Ok(())
    }

    fn close(&mut self, facts: Facts) -> Result<()> {
        if let Some(part) = self.store.parts.last_mut() {
            part.facts = facts;
        }
        match self.copy.take() {
            Some(mut copy) => copy.flush().map_err(temporary),
            None => Ok(()),
        }
    }
}

/// The error of a temporary file.
pub(crate) fn temporary(source: std::io::Error) -> Error {
    Error::io(&std::env::temp_dir(), source)
}
