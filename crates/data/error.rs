//! The errors of reading data files.

use std::path::{Path, PathBuf};

/// An error of this crate. Each names the file, and the line if there is one.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file that holds no rows, or whose content does not match its format.
    #[error("{path}: {message}")]
    File {
        /// The path.
        path: PathBuf,
        /// What is wrong with it, and how to fix it.
        message: String,
    },
    /// A row that cannot be used. Only this error can be skipped.
    #[error("{}: {message}", place(path, *line))]
    Row {
        /// The path.
        path: PathBuf,
        /// The line on which the row starts, or the row number in a Parquet file, counted from 1.
        line: usize,
        /// What is wrong with it, and how to fix it.
        message: String,
    },
    /// Rows that do not form a valid batch.
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

    /// Whether the error concerns a single row, so that the rest of the file can still be read.
    #[must_use]
    pub fn is_row_error(&self) -> bool {
        matches!(self, Self::Row { .. })
    }
}

/// "file:line", or "file: row n" for a format without lines.
pub(crate) fn place(path: &Path, line: usize) -> String {
    match path.extension() {
        Some(extension) if extension == "parquet" => format!("{}: row {line}", path.display()),
        _ => format!("{}:{line}", path.display()),
    }
}

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;
