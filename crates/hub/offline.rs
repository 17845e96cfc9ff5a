//! Resolves repositories from the cache only.

use crate::cache::{CacheState, Folder};
use crate::{Error, Hub, Kind, Progress, Repository, Result, Snapshot};
use std::path::PathBuf;

/// Resolves repositories from the cache; a missing one is an error.
#[derive(Debug, Clone)]
pub struct CacheOnly {
    cache: PathBuf,
}

impl CacheOnly {
    /// The cache in a folder, such as `~/.cache/huggingface/hub`.
    #[must_use]
    pub fn new(cache: PathBuf) -> Self {
        Self { cache }
    }
}

impl Hub for CacheOnly {
    fn resolve(&self, repository: &Repository, progress: &mut dyn Progress) -> Result<Snapshot> {
        cached_snapshot(&Folder::new(&self.cache, repository), repository, progress).map_err(
            |why| Error::Offline {
                what: repository.to_string(),
                cache: self.cache.clone(),
                why,
            },
        )
    }
}

/// The cached snapshot of a repository.
///
/// # Errors
/// What is missing.
pub(crate) fn cached_snapshot(
    folder: &Folder,
    repository: &Repository,
    progress: &mut dyn Progress,
) -> std::result::Result<Snapshot, String> {
    let commit = match repository.commit() {
        Some(commit) => Some(commit.to_string()),
        None => folder.read_ref(repository.revision()),
    };
    let commit = commit.ok_or("it was never fetched")?;
    match folder.state(&commit) {
        CacheState::Missing(why) => return Err(why),
        CacheState::Usable if repository.kind() == Kind::Dataset => progress.note(&format!(
            "{repository}: using the files in the cache; without the hub it is unknown whether the \
             data set has more"
        )),
        CacheState::Usable | CacheState::Complete => {}
    }
    Ok(folder.snapshot(&commit))
}
