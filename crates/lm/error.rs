//! What can go wrong with a checkpoint folder.

use std::path::{Path, PathBuf};

/// An error of this crate; each names the file, key or tensor at fault and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file whose content is not what it should be.
    #[error("{path}: {message}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and the fix.
        message: String,
    },
    /// Text or ids that the tokenizer cannot take.
    #[error("{0}")]
    Text(String),
    /// A batch that the network cannot read.
    #[error("{0}")]
    Batch(String),
    /// An error of the network's parameters.
    #[error(transparent)]
    Tensor(#[from] rlhf_tensor::Error),
}

impl Error {
    /// Names the file of an input or output error.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io {
            path: path.into(),
            source,
        }
    }

    /// Says what is wrong with a file.
    pub(crate) fn invalid(path: &Path, message: impl std::fmt::Display) -> Self {
        Self::Invalid {
            path: path.into(),
            message: message.to_string(),
        }
    }
}

impl From<Error> for rlhf_objective::Error {
    fn from(error: Error) -> Self {
        Self::other(error)
    }
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
