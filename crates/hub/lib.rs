//! Resolves repository names, `owner/name[@revision]`, to local paths, downloading what is missing.
//!
//! [`Hub::resolve`] is the entry point. [`Network`] downloads from a hub that speaks the Hugging
//! Face protocol, through the cache; [`CacheOnly`] uses only the cache. Both share the cache folder
//! and layout of Python's `huggingface_hub`, so that each finds what the other has downloaded. This
//! crate does not read the environment: [`Settings`] are made from variables that the caller looks
//! up.
//!
//! ```
//! use rlhf_hub::{Kind, Repository};
//!
//! let repository = Repository::parse(Kind::Model, "owner/name@v1.0").unwrap();
//! assert_eq!((repository.name(), repository.revision()), ("owner/name", "v1.0"));
//! assert!(Repository::parse(Kind::Model, "runs/sft-000/final").is_none());
//! ```
//!
//! Guarantees of a download:
//!
//! - A file appears under its name only when it is complete and has the checksum that the hub
//!   reports: SHA-256 for large files, git's for small ones.
//! - An interrupted download continues where it stopped, in the same run or in a later one.
//! - The token is sent only to the endpoint of the settings, never to a redirect target; it is
//!   neither printed nor written.
//! - Two processes that download the same file wait for each other.

#![forbid(unsafe_code)]

mod cache;
mod checksum;
mod choose;
mod download;
mod error;
mod network;
mod offline;
mod progress;
mod repository;
mod retry;
mod settings;
mod transport;
mod url;

#[cfg(test)]
mod protocol_tests;

pub use choose::checkpoint_files;
pub use error::{Error, Result};
pub use network::Network;
pub use offline::CacheOnly;
pub use progress::{Progress, Silent};
pub use repository::{Kind, Repository};
pub use settings::{Retry, Settings, Token};

use std::path::PathBuf;

/// A local copy of a repository at one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The folder with its files.
    pub folder: PathBuf,
    /// The commit, 40 hexadecimal digits.
    pub commit: String,
}

/// A source of repositories.
pub trait Hub {
    /// The local folder of a repository, with all required files.
    ///
    /// # Errors
    /// If it does not exist, access is denied, or it cannot be fetched now. The error names the
    /// repository and what to do.
    fn resolve(&self, repository: &Repository, progress: &mut dyn Progress) -> Result<Snapshot>;
}

/// The hub for these settings: the network, or only the cache in offline mode.
#[must_use]
pub fn open(settings: Settings) -> Box<dyn Hub> {
    if settings.offline {
        Box::new(CacheOnly::new(settings.cache))
    } else {
        Box::new(Network::new(settings))
    }
}
