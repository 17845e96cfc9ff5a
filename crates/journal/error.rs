//! The errors of run folders.

use std::path::{Path, PathBuf};

/// An error of this crate. Each names the file or folder.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder that cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A run folder that cannot be created.
    #[error("the run folder {path} cannot be created ({source}): choose another --out")]
    Unwritable {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file where a run folder should be.
    #[error("{0} is not a folder: choose another --out")]
    NotAFolder(PathBuf),
    /// A run folder that would be overwritten.
    #[error(
        "{0} already holds a run: continue it with --resume, replace it with --overwrite, or choose another --out"
    )]
    Exists(PathBuf),
    /// A run folder that another process writes to.
    #[error(
        "{path} is in use by {holder}: wait until that run ends, stop it, or choose another --out"
    )]
    Locked {
        /// The path.
        path: PathBuf,
        /// The process that holds the lock.
        holder: String,
    },
    /// A folder that is not empty and holds no run.
    #[error("{0} is not empty but holds no run: choose another --out")]
    NotARun(PathBuf),
    /// A folder to be resumed or read that holds no run.
    #[error("{0} holds no run: {1} is missing. Name a run folder")]
    NoRun(PathBuf, &'static str),
    /// A number that JSON cannot represent.
    #[error("{name} is {value}: only finite numbers can be written")]
    NotFinite {
        /// The metric.
        name: String,
        /// Its value.
        value: f64,
    },
    /// A line of a JSONL file that cannot be parsed.
    #[error("{path}:{line}: {source}")]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// A value that cannot be written as JSON.
    #[error("{path}: {source}")]
    Json {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
}

impl Error {
    /// Adds the path to an I/O error.
    pub(crate) fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io {
            path: path.into(),
            source,
        }
    }
}

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;
