//! Repository name → local path: what `owner/name[@revision]` stands for on this machine.
//!
//! [`Hub::resolve`] is the whole of it. [`Network`] asks a hub that speaks the Hugging Face protocol
//! and keeps what it answers; [`CacheOnly`] looks at what is kept and asks nobody. Both use the
//! folder that Python's `huggingface_hub` uses, laid out as it does, so that each finds what the other
//! has downloaded. Nothing of ours is known here, and nothing of the environment: [`Settings`] are
//! made from variables that the caller looks up.
//!
//! ```
//! use rlhf_hub::{Kind, Repository};
//!
//! let repository = Repository::parse(Kind::Model, "owner/name@v1.0").unwrap();
//! assert_eq!((repository.name(), repository.revision()), ("owner/name", "v1.0"));
//! assert!(Repository::parse(Kind::Model, "runs/sft-000/final").is_none());
//! ```
//!
//! What is promised of a download:
//!
//! - A file appears under its name only when it is whole, and when it has the checksum that the hub
//!   names: SHA-256 of large files, git's of small ones.
//! - A transfer that was cut goes on where it stopped, in the same run or in a later one.
//! - A token goes to the endpoint of the settings, never to where that redirects; it is neither
//!   printed nor written.
//! - Two processes that want one file wait for each other.

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
mod protocol;

pub use choose::checkpoint_files;
pub use error::{Error, Result};
pub use network::Network;
pub use offline::CacheOnly;
pub use progress::{Progress, Silent};
pub use repository::{Kind, Repository};
pub use settings::{Retry, Settings, Token};

use std::path::PathBuf;

/// A repository at one commit, on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The folder with its files.
    pub folder: PathBuf,
    /// The commit, 40 hexadecimal digits.
    pub commit: String,
}

/// Where repositories come from.
pub trait Hub {
    /// The folder of a repository, with every file of it that we read.
    ///
    /// # Errors
    /// If it is not there, may not be read, or cannot be had now; the error names the repository and
    /// what to do.
    fn resolve(&self, repository: &Repository, watch: &mut dyn Progress) -> Result<Snapshot>;
}

/// The hub of some settings: the network, or the cache alone where the settings say so.
#[must_use]
pub fn open(settings: Settings) -> Box<dyn Hub> {
    if settings.offline {
        Box::new(CacheOnly::new(settings.cache))
    } else {
        Box::new(Network::new(settings))
    }
}
