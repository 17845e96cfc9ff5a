//! What can go wrong with a run folder.

use std::path::{Path, PathBuf};

/// An error of this crate; each names the file or folder at fault.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder that cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A run folder that cannot be made.
    #[error("the run folder {path} cannot be made ({source}): choose another --out")]
    Unwritable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file where a run folder should be.
    #[error("{0} is not a folder: choose another --out")]
    NotAFolder(PathBuf),
    /// A run folder that would be written over.
    #[error(
        "{0} already holds a run: continue it with --resume, replace it with --overwrite, or choose another --out"
    )]
    Exists(PathBuf),
    /// A run folder that another process writes to.
    #[error(
        "{path} is in use by {holder}: wait until that run ends, stop it, or choose another --out"
    )]
    Locked {
        /// Which.
        path: PathBuf,
        /// Who has it.
        holder: String,
    },
    /// A folder to be overwritten that holds something else.
    #[error("{0} is not empty and holds no run: choose another --out")]
    NotARun(PathBuf),
    /// A folder to be resumed or read that holds no run.
    #[error("{0} holds no run: there is no {1} in it")]
    NoRun(PathBuf, &'static str),
    /// A number that JSON cannot hold.
    #[error("{name} is {value}: only finite numbers are written")]
    NotFinite {
        /// The metric.
        name: String,
        /// Its value.
        value: f64,
    },
    /// A line that is not what this crate writes.
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
        /// Why.
        source: serde_json::Error,
    },
}

impl Error {
    /// Says at which path an input or output error happened.
    pub(crate) fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io {
            path: path.into(),
            source,
        }
    }
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
