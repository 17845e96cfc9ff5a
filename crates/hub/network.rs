//! Downloads from the hub, through the cache.

use crate::cache::{CacheState, Folder, safe_names};
use crate::choose::{INDEX, required_files, shards};
use crate::download::Download;
use crate::offline::cached_snapshot;
use crate::repository::is_commit;
use crate::retry::{Attempt, Failure};
use crate::transport::{RequestKind, Transport};
use crate::url::escaped;
use crate::{Error, Hub, Kind, Progress, Repository, Result, Settings, Snapshot};
use serde_json::Value;

/// The maximum size of a file list, in bytes.
const LONGEST_LIST: u64 = 64 << 20;

/// Resolves repositories on the hub; a commit that is completely cached is not requested again.
#[derive(Debug)]
pub struct Network {
    settings: Settings,
    transport: Transport,
}

/// The commit and the files of a revision.
struct Listing {
    commit: String,
    names: Vec<String>,
}

impl Network {
    /// The hub for these settings.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let transport = Transport::new(&settings);
        Self {
            settings,
            transport,
        }
    }

    fn list(&self, repository: &Repository, progress: &mut dyn Progress) -> Result<Listing> {
        let (kind, what) = match repository.kind() {
            Kind::Model => ("models", format!("model {repository}")),
            Kind::Dataset => ("datasets", format!("data set {repository}")),
        };
        let (name, revision) = (repository.name(), escaped(repository.revision()));
        let endpoint = &self.settings.endpoint;
        let address = format!("{endpoint}/api/{kind}/{name}/revision/{revision}");
        let retry = self.settings.retry;
        let text = retry.run(&what, progress, |_| -> Attempt<String> {
            let response = self.transport.send(RequestKind::All, &address, &what)?;
            let body = response.into_body().into_with_config();
            let text = body.limit(LONGEST_LIST).read_to_string();
            text.map_err(|_| Failure::temporary("the list of files was interrupted"))
        })?;
        let invalid = || {
            Error::invalid_response(
                &what,
                "the response is not that of a Hugging Face hub: \
                                               check HF_ENDPOINT",
            )
        };
        let json: Value = serde_json::from_str(&text).map_err(|_| invalid())?;
        let commit = json["sha"].as_str().filter(|sha| is_commit(sha));
        let siblings = json["siblings"].as_array().ok_or_else(invalid)?;
        let names = siblings
            .iter()
            .filter_map(|file| file["rfilename"].as_str());
        Ok(Listing {
            commit: commit.ok_or_else(invalid)?.into(),
            names: safe_names(names.map(str::to_string).collect()),
        })
    }

    fn fetch(
        &self,
        repository: &Repository,
        folder: &Folder,
        listing: &Listing,
        progress: &mut dyn Progress,
    ) -> Result<()> {
        let unsuitable = |why: String| Error::Unsuitable {
            repository: repository.to_string(),
            why,
        };
        let Listing { commit, names } = listing;
        let files = required_files(repository.kind(), names).map_err(unsuitable)?;
        folder.write_listing(commit, names)?;
        let download = Download {
            transport: &self.transport,
            settings: &self.settings,
            repository: &repository.at(commit),
            commit,
            folder,
        };
        for file in &files {
            download.file(file, progress)?;
        }
        if files.iter().any(|name| name == INDEX) {
            for shard in shards(&folder.file(commit, INDEX)).map_err(unsuitable)? {
                download.file(&shard, progress)?;
            }
        }
        // Last, so that a revision never points to an incomplete snapshot.
        match repository.commit() {
            Some(_) => Ok(()),
            None => folder.write_ref(repository.revision(), commit),
        }
    }
}

impl Hub for Network {
    fn resolve(&self, repository: &Repository, progress: &mut dyn Progress) -> Result<Snapshot> {
        let folder = Folder::new(&self.settings.cache, repository);
        if let Some(commit) = repository.commit()
            && folder.state(commit) == CacheState::Complete
        {
            return Ok(folder.snapshot(commit));
        }
        let listing = match self.list(repository, progress) {
            Err(error @ Error::Unreachable { .. }) => {
                let found = cached_snapshot(&folder, repository, progress);
                let Ok(snapshot) = found else {
                    return Err(error);
                };
                progress.note(&format!(
                    "{error}; continuing with commit {} of it from the cache",
                    snapshot.commit
                ));
                return Ok(snapshot);
            }
            listing => listing?,
        };
        self.fetch(repository, &folder, &listing, progress)?;
        Ok(folder.snapshot(&listing.commit))
    }
}
