//! What can go wrong with a checkpoint folder.

use std::path::PathBuf;

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
    /// An error of the network's parameters.
    #[error(transparent)]
    Tensor(#[from] rlhf_tensor::Error),
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
