//! The errors of resolving a repository.

use std::path::{Path, PathBuf};

/// An error of this crate. Messages never contain a token or a signed address.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An environment variable with an invalid value.
    #[error("{0}")]
    Settings(String),
    /// A file of the cache that cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Something that the hub does not have or does not reveal.
    #[error("the hub has no {0}")]
    NotFound(String),
    /// Something that needs other permissions.
    #[error("access to {what} was denied: {why}")]
    Denied {
        /// The request.
        what: String,
        /// The reason, and what to do.
        why: String,
    },
    /// The hub cannot be reached, or fails repeatedly.
    #[error("cannot fetch {what}: {why}")]
    Unreachable {
        /// The request.
        what: String,
        /// The last failure.
        why: String,
    },
    /// A response that violates the hub's protocol.
    #[error("{what}: {why}")]
    InvalidResponse {
        /// The request.
        what: String,
        /// What is wrong with the response.
        why: String,
    },
    /// A file whose checksum was wrong twice.
    #[error(
        "{what} was damaged in transfer: its checksum is {found}, but the hub reports {expected}. \
         Nothing was saved; try again"
    )]
    Damaged {
        /// The file.
        what: String,
        /// The checksum of the received bytes.
        found: String,
        /// The checksum that the hub reports.
        expected: String,
    },
    /// A repository without the required files.
    #[error("{repository} {why}")]
    Unsuitable {
        /// The repository.
        repository: String,
        /// What is missing.
        why: String,
    },
    /// Something that is not in the cache, in offline mode.
    #[error("{what} is not in {cache}, and HF_HUB_OFFLINE forbids downloading it: {why}")]
    Offline {
        /// The request.
        what: String,
        /// The cache folder.
        cache: PathBuf,
        /// What is missing.
        why: String,
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

    /// An [`InvalidResponse`](Self::InvalidResponse).
    pub(crate) fn invalid_response(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::InvalidResponse {
            what: what.into(),
            why: why.into(),
        }
    }
}

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;
