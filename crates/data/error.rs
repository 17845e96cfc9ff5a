//! What can go wrong with a data file.

use std::path::{Path, PathBuf};

/// An error of this crate; each names the file, and the line where there is one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file that holds nothing, or is not what its name says.
    #[error("{path}: {message}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and the fix.
        message: String,
    },
    /// A row that cannot be used; the only error that may be skipped.
    #[error("{}: {message}", place(path, *line))]
    Row {
        /// The file.
        path: PathBuf,
        /// The line on which the row starts, or its number in a Parquet file, counted from 1.
        line: usize,
        /// What is wrong with it, and the fix.
        message: String,
    },
    /// Rows that do not make a batch.
    #[error(transparent)]
    Objective(#[from] rlhf_objective::Error),
}

impl Error {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io {
            path: path.into(),
            source,
        }
    }

    pub(crate) fn file(path: &Path, message: impl Into<String>) -> Self {
        Self::File {
            path: path.into(),
            message: message.into(),
        }
    }

    pub(crate) fn row(path: &Path, line: usize, message: impl Into<String>) -> Self {
        Self::Row {
            path: path.into(),
            line,
            message: message.into(),
        }
    }

    /// Whether it is one row's, and the rest of the file can still be read.
    #[must_use]
    pub fn is_row_error(&self) -> bool {
        matches!(self, Self::Row { .. })
    }
}

/// "file:line", or "file: row n" where a format has no lines.
pub(crate) fn place(path: &Path, line: usize) -> String {
    match path.extension() {
        Some(extension) if extension == "parquet" => format!("{}: row {line}", path.display()),
        _ => format!("{}:{line}", path.display()),
    }
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
