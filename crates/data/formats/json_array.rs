//! One JSON array of objects, element by element.

use crate::formats::bytes::{Input, too_long};
use crate::formats::{Facts, LONGEST_ROW, Located, RowReader, parse};
use crate::{Error, Result};

/// The elements of an array. Where one is not JSON, the next is still found: brackets and strings
/// are enough to tell where an element ends.
pub(crate) struct Elements {
    input: Input,
    place: Place,
    /// The first byte of the next element, already taken.
    ahead: Option<u8>,
}

/// Where in the array the reader stands.
enum Place {
    Before,
    Between,
    After,
}

impl Elements {
    pub(crate) fn new(input: Input) -> Self {
        Self {
            input,
            place: Place::Before,
            ahead: None,
        }
    }

    /// The next byte that is not white space.
    fn solid(&mut self) -> Result<Option<u8>> {
        loop {
            match self.input.byte()? {
                Some(byte) if byte.is_ascii_whitespace() => {}
                other => return Ok(other),
            }
        }
    }

    fn element(&mut self) -> Result<Option<Located>> {
        match self.place {
            Place::After => return Ok(None),
            Place::Before => {
                // The opening bracket is why this reader was chosen.
                self.solid()?;
                self.ahead = self.solid()?;
                self.place = Place::Between;
            }
            Place::Between => self.ahead = self.solid()?,
        }
        let Some(first) = self.ahead.take() else {
            return Err(self.cut());
        };
        if first == b']' {
            self.place = Place::After;
            return match self.solid()? {
                None => Ok(None),
                Some(_) => Err(self.error("more text after the end of the array")),
            };
        }
        let line = self.input.line();
        let bytes = self.collect(first, line)?;
        let row = parse(self.input.path(), line, bytes.trim_ascii())?;
        // Found again by its place in a file of its own, never here.
        Ok(Some(Located { row, offset: 0 }))
    }

    /// The bytes of an element that starts with `first`, up to the comma or bracket behind it.
    fn collect(&mut self, first: u8, line: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
        let mut length = 0;
        let mut next = Some(first);
        loop {
            let Some(byte) = next else {
                return Err(self.cut());
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
                        self.finish()?;
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
        match length > LONGEST_ROW {
            true => Err(too_long(self.input.path(), line, length)),
            false => Ok(bytes),
        }
    }

    /// Nothing but white space may follow the array.
    fn finish(&mut self) -> Result<()> {
        self.place = Place::After;
        match self.solid()? {
            None => Ok(()),
            Some(_) => Err(self.error("more text after the end of the array")),
        }
    }

    fn cut(&self) -> Error {
        self.error("the array does not end: the file is cut")
    }

    fn error(&self, what: &str) -> Error {
        let message = format!("line {}: {what}", self.input.line());
        Error::file(self.input.path(), message)
    }
}

impl RowReader for Elements {
    fn next(&mut self) -> Option<Result<Located>> {
        let found = self.element();
        if let Err(error) = &found
            && !error.is_row_error()
        {
            self.place = Place::After;
        }
        found.transpose()
    }

    fn facts(&self) -> Facts {
        self.input.facts()
    }
}
