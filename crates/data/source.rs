//! The rows of one or several files, one after another.

use crate::formats::{Facts, Located, Opened, open};
use crate::{Documents, Error, ReadOptions, Result, Row, files};
use std::path::{Path, PathBuf};

/// Files, and how they are to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The files, in order.
    pub files: Vec<PathBuf>,
    /// How.
    pub options: ReadOptions,
}

impl Source {
    /// The files of a path: see [`files`].
    ///
    /// # Errors
    /// If there is none.
    pub fn new(path: &Path, split: Option<&str>, options: ReadOptions) -> Result<Self> {
        Ok(Self {
            files: files(path, split)?,
            options,
        })
    }

    /// Goes through all rows, in order.
    ///
    /// # Errors
    /// If a file cannot be read to its end or holds no row at all, or the visitor wants no more.
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
                return Err(Error::file(path, "holds no row"));
            }
            visitor.close(file.rows.facts())?;
        }
        Ok(())
    }
}

/// Sees files and their rows.
pub(crate) trait Visitor {
    /// A file, before its rows.
    fn open(&mut self, path: &Path, file: &Opened) -> Result<()>;
    /// A row, or what is wrong with it.
    fn row(&mut self, row: Result<Located>) -> Result<()>;
    /// What was seen of the file, after its rows.
    fn close(&mut self, facts: Facts) -> Result<()>;
}

/// All rows of a file at once, for files of a few.
///
/// # Errors
/// If the file cannot be read, holds no row, or a row cannot be read.
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
