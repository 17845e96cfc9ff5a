//! What can go wrong with a data file.

use std::path::PathBuf;

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
    /// A row that cannot be used.
    #[error("{path}:{line}: {message}")]
    Row {
        /// The file.
        path: PathBuf,
        /// The line on which the row starts, counted from 1.
        line: usize,
        /// What is wrong with it, and the fix.
        message: String,
    },
    /// Rows that do not make a batch.
    #[error(transparent)]
    Objective(#[from] rlhf_objective::Error),
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
