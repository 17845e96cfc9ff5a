//! Iterates over the rows of one or several files.

use crate::formats::{Facts, Located, Opened, open};
use crate::{Documents, Error, ReadOptions, Result, Row, files};
use std::path::{Path, PathBuf};

/// Files, and the options for reading them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The files, in order.
    pub files: Vec<PathBuf>,
    /// The options.
    pub options: ReadOptions,
}

impl Source {
    /// The data files at a path; see [`files`].
    ///
    /// # Errors
    /// If there are none.
    pub fn new(path: &Path, split: Option<&str>, options: ReadOptions) -> Result<Self> {
        Ok(Self {
            files: files(path, split)?,
            options,
        })
    }

    /// Visits all rows, in order.
    ///
    /// # Errors
    /// If a file cannot be read to its end or holds no rows, or the visitor returns an error.
    pub(crate) fn visit(&self, visitor: &mut dyn Visitor) -> Result<()> {
        for path in &self.files {
            let mut file = open(path, &self.options)?;
            visitor.open(path, &file)?;
            let mut empty = true;
            while let Some(row) = file.rows.next() {
                empty = false;
                match row {
                    Err(error) if !error.is_row_error() => return Err(error),
                    row => visitor.row(row)?,
                }
            }
            if empty {
                return Err(Error::file(path, "holds no rows"));
            }
            visitor.close(file.rows.facts())?;
        }
        Ok(())
    }
}

/// Called for each file and each row.
pub(crate) trait Visitor {
    /// Called before the rows of a file.
    fn open(&mut self, path: &Path, file: &Opened) -> Result<()>;
    /// Called with a row, or the error of reading it.
    fn row(&mut self, row: Result<Located>) -> Result<()>;
    /// Called after the rows of a file, with what was counted in it.
    fn close(&mut self, facts: Facts) -> Result<()>;
}

/// Reads all rows of a small file into memory.
///
/// # Errors
/// If the file cannot be read, holds no rows, or a row cannot be read.
pub fn rows(path: &Path, documents: Documents) -> Result<Vec<Row>> {
    let options = ReadOptions {
        documents,
        ..ReadOptions::default()
    };
    let mut all = All(Vec::new());
    Source::new(path, None, options)?.visit(&mut all)?;
    Ok(all.0)
}

struct All(Vec<Row>);

impl Visitor for All {
    fn open(&mut self, _: &Path, _: &Opened) -> Result<()> {
        Ok(())
    }

    fn row(&mut self, row: Result<Located>) -> Result<()> {
        self.0.push(row?.row);
        Ok(())
    }

    fn close(&mut self, _: Facts) -> Result<()> {
        Ok(())
    }
}
