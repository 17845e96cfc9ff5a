//! The error type of this crate.

use std::path::PathBuf;

/// An error of this crate; each names the rule, file or line at fault.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An invalid rule.
    #[error("{0}")]
    Rule(String),
    /// A file that cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A file with invalid contents.
    #[error("{path}: {message}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A reward model that cannot be loaded.
    #[error(transparent)]
    Model(Box<rlhf_lm::Error>),
    /// A line of a lexicon that is not a word, a tab and a number.
    #[error("{path}:{line}: {message}")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
}

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;
