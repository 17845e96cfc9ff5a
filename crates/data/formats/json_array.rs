//! Reads one JSON array of objects, element by element.

use crate::formats::bytes::{Input, too_long};
use crate::formats::{Facts, LONGEST_ROW, Located, RowReader, parse};
use crate::{Error, Result};

/// The elements of an array. After an element that is not valid JSON the next one is still found:
/// brackets and strings are enough to tell where an element ends.
pub(crate) struct JsonArrayReader {
    input: Input,
    position: Position,
    /// The first byte of the next element, already consumed.
    peeked: Option<u8>,
}

/// The reader's position in the array.
enum Position {
    Before,
    Inside,
    After,
}

impl JsonArrayReader {
    pub(crate) fn new(input: Input) -> Self {
        Self {
            input,
            position: Position::Before,
            peeked: None,
        }
    }

    /// The next byte that is not white space.
    fn next_non_space(&mut self) -> Result<Option<u8>> {
        loop {
            match self.input.byte()? {
                Some(byte) if byte.is_ascii_whitespace() => {}
                other => return Ok(other),
            }
        }
    }

    fn element(&mut self) -> Result<Option<Located>> {
        match self.position {
            Position::After => return Ok(None),
            Position::Before => {
                // This reader is only chosen when the first byte is the opening bracket.
                self.next_non_space()?;
                self.peeked = self.next_non_space()?;
                self.position = Position::Inside;
            }
            Position::Inside => self.peeked = self.next_non_space()?,
        }
        let Some(first) = self.peeked.take() else {
            return Err(self.truncated());
        };
        if first == b']' {
            self.position = Position::After;
            return match self.next_non_space()? {
                None => Ok(None),
                Some(_) => Err(self.error("more text after the end of the array")),
            };
        }
        let line = self.input.line();
        let bytes = self.collect(first, line)?;
        let row = parse(self.input.path(), line, bytes.trim_ascii())?;
        // Offsets are only used for formats that are read again in place.
        Ok(Some(Located { row, offset: 0 }))
    }

    /// The bytes of an element that starts with `first`, up to the comma or bracket after it.
    fn collect(&mut self, first: u8, line: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
        let mut length = 0;
        let mut next = Some(first);
        loop {
            let Some(byte) = next else {
                return Err(self.truncated());
            };
            if in_string {
                in_string = byte != b'"' || escaped;
                escaped = byte == b'\\' && !escaped;
            } else {
                match byte {
                    b'"' => in_string = true,
                    b'[' | b'{' => depth += 1,
                    b',' if depth == 0 => break,
                    b']' if depth == 0 => {
                        self.expect_end()?;
                        break;
                    }
                    b']' | b'}' => depth = depth.saturating_sub(1),
                    _ => {}
                }
            }
            length += 1;
            if length <= LONGEST_ROW {
                bytes.push(byte);
            }
            next = self.input.byte()?;
        }
        if length > LONGEST_ROW {
            Err(too_long(self.input.path(), line, length))
        } else {
            Ok(bytes)
        }
    }

    /// Checks that only white space follows the array.
    fn expect_end(&mut self) -> Result<()> {
        self.position = Position::After;
        match self.next_non_space()? {
            None => Ok(()),
            Some(_) => Err(self.error("more text after the end of the array")),
        }
    }

    fn truncated(&self) -> Error {
        self.error("the array does not end: the file is truncated")
    }

    fn error(&self, what: &str) -> Error {
        let message = format!("line {}: {what}", self.input.line());
        Error::file(self.input.path(), message)
    }
}

impl RowReader for JsonArrayReader {
    fn next(&mut self) -> Option<Result<Located>> {
        let found = self.element();
        if let Err(error) = &found
            && !error.is_row_error()
        {
            self.position = Position::After;
        }
        found.transpose()
    }

    fn facts(&self) -> Facts {
        self.input.facts()
    }
}
