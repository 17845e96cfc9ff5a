//! The cache and nothing else.

use crate::cache::{Folder, Kept};
use crate::{Error, Hub, Kind, Progress, Repository, Result, Snapshot};
use std::path::PathBuf;

/// Answers from the cache; what is not there is an error.
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
    fn resolve(&self, repository: &Repository, watch: &mut dyn Progress) -> Result<Snapshot> {
        kept(&Folder::new(&self.cache, repository), repository, watch).map_err(|why| {
            Error::Offline {
                what: repository.to_string(),
                cache: self.cache.clone(),
                why,
            }
        })
    }
}

/// What the cache has of a repository.
///
/// # Errors
/// What is missing.
pub(crate) fn kept(
    folder: &Folder,
    repository: &Repository,
    watch: &mut dyn Progress,
) -> std::result::Result<Snapshot, String> {
    let commit = match repository.commit() {
        Some(commit) => Some(commit.to_string()),
        None => folder.read_ref(repository.revision()),
    };
    let commit = commit.ok_or("it was never fetched")?;
    match folder.kept(&commit) {
        Kept::Missing(why) => return Err(why),
        Kept::Enough if repository.kind() == Kind::Dataset => watch.note(&format!(
            "{repository}: taking the files that are in the cache; whether there are more, only the \
             hub knows"
        )),
        Kept::Enough | Kept::Whole => {}
    }
    Ok(folder.snapshot(&commit))
}
