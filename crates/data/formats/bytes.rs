//! Reads the bytes of a file: decompressed, without a byte-order mark, line by line.

use crate::formats::{Facts, LONGEST_ROW};
use crate::{Error, Result};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

/// The buffer size, in bytes.
const BUFFER: usize = 1 << 18;

/// A file that is read from start to end.
pub(crate) struct Input {
    reader: Box<dyn BufRead>,
    path: Arc<Path>,
    compression: Option<&'static str>,
    /// The number of the next line, counted from 1.
    line: usize,
    /// The offset of the next byte, uncompressed.
    offset: u64,
    /// Whether the last byte read is a CR.
    carriage_return: bool,
    facts: Facts,
}

/// The position of a line.
pub(crate) struct Line {
    pub(crate) number: usize,
    pub(crate) offset: u64,
}

impl Input {
    /// Opens a file; `.gz` and `.zst` are decompressed as they are read.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let error = |source| Error::io(path, source);
        let file = BufReader::with_capacity(BUFFER, File::open(path).map_err(error)?);
        let extension = path.extension().and_then(|extension| extension.to_str());
        let (reader, compression): (Box<dyn BufRead>, _) = match extension {
            Some("gz") => {
                let decoder = flate2::bufread::MultiGzDecoder::new(file);
                (
                    Box::new(BufReader::with_capacity(BUFFER, decoder)),
                    Some("gzip"),
                )
            }
            Some("zst") => {
                let decoder = zstd::stream::read::Decoder::with_buffer(file).map_err(error)?;
                (
                    Box::new(BufReader::with_capacity(BUFFER, decoder)),
                    Some("zstd"),
                )
            }
            _ => (Box::new(file), None),
        };
        let mut input = Self {
            reader,
            path: path.into(),
            compression,
            line: 1,
            offset: 0,
            carriage_return: false,
            facts: Facts::default(),
        };
        input.skip_mark()?;
        Ok(input)
    }

    fn skip_mark(&mut self) -> Result<()> {
        let start = self.fill()?;
        if start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff") {
            let message = "is encoded in UTF-16: save it as UTF-8";
            return Err(Error::file(&self.path, message));
        }
        if start.starts_with(b"\xef\xbb\xbf") {
            self.consume(3);
            self.facts.bom = true;
        }
        Ok(())
    }

    pub(crate) fn path(&self) -> &Arc<Path> {
        &self.path
    }

    pub(crate) fn is_compressed(&self) -> bool {
        self.compression.is_some()
    }

    pub(crate) fn facts(&self) -> Facts {
        self.facts.clone()
    }

    /// The line number of the next byte.
    pub(crate) fn line(&self) -> usize {
        self.line
    }

    /// The first byte that is not white space, if it is in the first buffer.
    pub(crate) fn first_byte(&mut self) -> Result<Option<u8>> {
        let bytes = self.fill()?;
        Ok(bytes
            .iter()
            .copied()
            .find(|byte| !byte.is_ascii_whitespace()))
    }

    /// The next buffered bytes; empty at the end of the file.
    pub(crate) fn fill(&mut self) -> Result<&[u8]> {
        match self.reader.fill_buf() {
            // The borrow checker requires a second call.
            Ok(_) => self
                .reader
                .fill_buf()
                .map_err(|source| Error::io(&self.path, source)),
            Err(source) => Err(self.broken(source)),
        }
    }

    /// Consumes bytes returned by [`fill`](Self::fill).
    pub(crate) fn consume(&mut self, bytes: usize) {
        self.reader.consume(bytes);
        self.offset += bytes as u64;
    }

    /// Reads one byte and counts lines.
    pub(crate) fn byte(&mut self) -> Result<Option<u8>> {
        let Some(&byte) = self.fill()?.first() else {
            return Ok(None);
        };
        self.consume(1);
        if byte == b'\n' {
            self.line += 1;
            self.facts.crlf += usize::from(self.carriage_return);
        }
        self.carriage_return = byte == b'\r';
        Ok(Some(byte))
    }

    /// Reads the next line into `line`, without its line ending. `None` at the end of the file.
    pub(crate) fn next_line(&mut self, line: &mut Vec<u8>) -> Option<Result<Line>> {
        line.clear();
        let place = Line {
            number: self.line,
            offset: self.offset,
        };
        let mut length = 0;
        loop {
            let bytes = match self.fill() {
                Ok(bytes) => bytes,
                Err(error) => return Some(Err(error)),
            };
            if bytes.is_empty() {
                if length == 0 {
                    return None;
                }
                break;
            }
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(bytes.len(), |end| end + 1);
            // A line that is too long is read to its end but not kept.
            if length + taken <= LONGEST_ROW {
                line.extend_from_slice(&bytes[..end.unwrap_or(taken)]);
            }
            length += taken;
            self.consume(taken);
            if end.is_some() {
                break;
            }
        }
        self.line += 1;
        if length > LONGEST_ROW {
            return Some(Err(too_long(&self.path, place.number, length)));
        }
        if line.last() == Some(&b'\r') {
            line.pop();
            self.facts.crlf += 1;
        }
        Some(Ok(place))
    }

    /// The error of a failed read. For a compressed file the usual cause is truncation.
    fn broken(&self, source: std::io::Error) -> Error {
        match self.compression {
            None => Error::io(&self.path, source),
            Some(name) => Error::file(
                &self.path,
                format!(
                    "the {name} data end or are invalid in line {} ({source}): the file is \
                     truncated or damaged. Fetch it again",
                    self.line
                ),
            ),
        }
    }
}

/// For formats whose parser takes a `Read`.
impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let bytes = self.fill().map_err(std::io::Error::other)?;
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        for byte in &buffer[..count] {
            if *byte == b'\n' {
                self.line += 1;
                self.facts.crlf += usize::from(self.carriage_return);
            }
            self.carriage_return = *byte == b'\r';
        }
        self.consume(count);
        Ok(count)
    }
}

/// The text of a row.
pub(crate) fn utf8<'a>(path: &Path, line: usize, bytes: &'a [u8]) -> Result<&'a str> {
    std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to() + 1;
        Error::row(path, line, format!("not UTF-8: byte {at} of the row"))
    })
}

/// The error of a row that exceeds the maximum length.
pub(crate) fn too_long(path: &Path, line: usize, length: usize) -> Error {
    let most = LONGEST_ROW >> 20;
    Error::row(
        path,
        line,
        format!("a row of {length} bytes: the maximum is {most} MiB. Split it into several rows"),
    )
}
