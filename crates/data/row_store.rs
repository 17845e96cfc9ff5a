//! Reads rows by number, on demand.

use crate::formats::{DocumentEnds, Facts, Format, LONGEST_ROW, Located, Opened, document, parse};
use crate::source::Visitor;
use crate::{Error, Fields, Result, Row, Source, remarks};
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// The rows of files of any size. Only the offset and the line of each row are in memory, 12 bytes
/// a row. JSON lines and plain text are read again from the original file; compressed files and
/// other formats are copied once, as JSON lines, to a temporary file (in `TMPDIR`, as large as the
/// uncompressed rows), which is deleted when the process ends.
#[derive(Debug, Default)]
pub struct RowStore {
    parts: Vec<FilePart>,
    offsets: Vec<u64>,
    lines: Vec<u32>,
}

/// The rows of one file.
#[derive(Debug)]
struct FilePart {
    path: Arc<Path>,
    /// The number of its first row.
    first: usize,
    /// The original file, or a copy of its rows.
    file: File,
    encoding: RowEncoding,
    /// The offset at which its rows end.
    end: u64,
    /// The modification time; `None` for a copy.
    modified: Option<SystemTime>,
    facts: Facts,
}

/// How the rows of a file are encoded.
#[derive(Debug, Clone, PartialEq)]
enum RowEncoding {
    /// One JSON object per line.
    Json,
    /// Plain text.
    Text(DocumentEnds),
}

impl RowStore {
    /// Reads all rows of a source once. `bad` is called with the error of a row that cannot be
    /// read, and decides whether it is skipped; `visit` is called with every other row.
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
            ends: DocumentEnds::new(&source.options),
            copy: None,
            bad,
            visit,
        };
        source.visit(&mut builder)?;
        Ok(builder.store)
    }

    /// Warnings about the files, given these field names.
    #[must_use]
    pub fn remarks(&self, fields: &Fields) -> Vec<String> {
        let parts = self.parts.iter();
        parts
            .flat_map(|part| remarks::about_file(&part.path, &part.facts, fields))
            .collect()
    }

    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// The rows with these numbers, in this order.
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

    /// The size of a row in its file, in bytes.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    pub fn bytes(&self, number: u32) -> u64 {
        let (_, start, end) = self.location(number as usize);
        end - start
    }

    /// The file that a row is in, and the offsets of its start and end.
    fn location(&self, number: usize) -> (usize, u64, u64) {
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
        let (index, start, end) = self.location(number);
        let part = &mut self.parts[index];
        // The gap between two rows may contain a line that is too long to be a row.
        let length = (end - start).min(LONGEST_ROW as u64 + 2);
        let mut bytes = vec![0; length as usize];
        let mut read = || {
            part.file.seek(SeekFrom::Start(start))?;
            part.file.read_exact(&mut bytes)
        };
        read().map_err(|source| Error::io(&part.path, source))?;
        let line = self.lines[number] as usize;
        match &part.encoding {
            RowEncoding::Json => parse(&part.path, line, first_line(&bytes)),
            RowEncoding::Text(ends) => document(&part.path, line, &ends.first(&bytes)),
        }
    }
}

impl FilePart {
    /// Row offsets are invalid in a file that was changed.
    fn check_unchanged(&self) -> Result<()> {
        let Some(modified) = self.modified else {
            return Ok(());
        };
        let metadata = self.file.metadata();
        let now = metadata.map_err(|source| Error::io(&self.path, source))?;
        if now.len() == self.end && now.modified().is_ok_and(|now| now == modified) {
            Ok(())
        } else {
            Err(Error::file(
                &self.path,
                "was changed while it was in use. Start again",
            ))
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

/// Records the offsets of rows.
struct Builder<'a> {
    store: RowStore,
    ends: DocumentEnds,
    /// The copy of the rows, if they cannot be read again from the original file.
    copy: Option<BufWriter<File>>,
    bad: &'a mut dyn FnMut(Error) -> Result<()>,
    visit: &'a mut dyn FnMut(&Row),
}

impl Visitor for Builder<'_> {
    fn open(&mut self, path: &Path, opened: &Opened) -> Result<()> {
        let error = |source| Error::io(path, source);
        let (file, encoding) = if opened.in_place {
            let encoding = match opened.format {
                Format::Text => RowEncoding::Text(self.ends.clone()),
                _ => RowEncoding::Json,
            };
            (File::open(path).map_err(error)?, encoding)
        } else {
            let file = tempfile::tempfile().map_err(temp_file_error)?;
            let copy = file.try_clone().map_err(temp_file_error)?;
            self.copy = Some(BufWriter::new(copy));
            (file, RowEncoding::Json)
        };
        let metadata = file.metadata().map_err(error)?;
        self.store.parts.push(FilePart {
            path: path.into(),
            first: self.store.len(),
            encoding,
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
            copy.write_all(&json).map_err(temp_file_error)?;
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
            Some(mut copy) => copy.flush().map_err(temp_file_error),
            None => Ok(()),
        }
    }
}

/// The error of a temporary file.
pub(crate) fn temp_file_error(source: std::io::Error) -> Error {
    Error::io(&std::env::temp_dir(), source)
}
