//! What can go wrong between a name and a folder.

use std::path::{Path, PathBuf};

/// An error of this crate. None holds a token, or an address that somebody signed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A variable that makes no sense.
    #[error("{0}")]
    Settings(String),
    /// A file of the cache that cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Something the hub does not have, or does not show.
    #[error("the hub has no {0}")]
    NotFound(String),
    /// Something the hub does not show to everybody.
    #[error("the hub does not show {what}: {why}")]
    Denied {
        /// What was asked for.
        what: String,
        /// Why, and what to do.
        why: String,
    },
    /// A hub that cannot be reached, or fails again and again.
    #[error("cannot fetch {what}: {why}")]
    Unreachable {
        /// What was asked for.
        what: String,
        /// The last failure.
        why: String,
    },
    /// An answer that is not what a hub says.
    #[error("{what}: {why}")]
    Answer {
        /// What was asked for.
        what: String,
        /// What is wrong with the answer.
        why: String,
    },
    /// A file that arrived with other bytes than the hub promised, twice.
    #[error(
        "{what} arrived damaged: its checksum is {found}, and the hub says {expected}; nothing was kept"
    )]
    Damaged {
        /// The file.
        what: String,
        /// The checksum of what arrived.
        found: String,
        /// What the hub promised.
        expected: String,
    },
    /// A repository without the files it should have.
    #[error("{repository} {why}")]
    Unsuitable {
        /// Which.
        repository: String,
        /// What is missing.
        why: String,
    },
    /// Something that is not in the cache, with nobody to ask.
    #[error("{what} is not in {cache}, and HF_HUB_OFFLINE says not to ask the hub: {why}")]
    Offline {
        /// What was asked for.
        what: String,
        /// The folder that was looked at.
        cache: PathBuf,
        /// What is missing.
        why: String,
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

    /// An answer that is not what a hub says.
    pub(crate) fn answer(what: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Answer {
            what: what.into(),
            why: why.into(),
        }
    }
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
