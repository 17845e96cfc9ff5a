//! The hub itself, with the cache in front.

use crate::cache::{Folder, Kept, safe};
use crate::choose::{INDEX, needed, shards};
use crate::download::Download;
use crate::offline::kept;
use crate::repository::is_commit;
use crate::retry::{Attempt, Failure};
use crate::transport::{Ask, Transport};
use crate::url::escaped;
use crate::{Error, Hub, Kind, Progress, Repository, Result, Settings, Snapshot};
use serde_json::Value;

/// The longest list of files that is read, bytes.
const LONGEST_LIST: u64 = 64 << 20;

/// Answers from the hub, and from the cache what cannot have changed.
#[derive(Debug)]
pub struct Network {
    settings: Settings,
    transport: Transport,
}

/// A revision as the hub describes it.
struct Listing {
    commit: String,
    names: Vec<String>,
}

impl Network {
    /// The hub of some settings.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let transport = Transport::new(&settings);
        Self {
            settings,
            transport,
        }
    }

    fn list(&self, repository: &Repository, watch: &mut dyn Progress) -> Result<Listing> {
        let (kind, what) = match repository.kind() {
            Kind::Model => ("models", format!("model {repository}")),
            Kind::Dataset => ("datasets", format!("data set {repository}")),
        };
        let (name, revision) = (repository.name(), escaped(repository.revision()));
        let endpoint = &self.settings.endpoint;
        let address = format!("{endpoint}/api/{kind}/{name}/revision/{revision}");
        let retry = self.settings.retry;
        let text = retry.run(&what, watch, |_| -> Attempt<String> {
            let response = self.transport.ask(Ask::All, &address, &what)?;
            let body = response.into_body().into_with_config();
            let text = body.limit(LONGEST_LIST).read_to_string();
            text.map_err(|_| Failure::passing("the list of files was cut"))
        })?;
        let odd = || Error::answer(&what, "the answer is not that of a hub: see HF_ENDPOINT");
        let json: Value = serde_json::from_str(&text).map_err(|_| odd())?;
        let commit = json["sha"].as_str().filter(|sha| is_commit(sha));
        let siblings = json["siblings"].as_array().ok_or_else(odd)?;
        let names = siblings
            .iter()
            .filter_map(|file| file["rfilename"].as_str());
        Ok(Listing {
            commit: commit.ok_or_else(odd)?.into(),
            names: safe(names.map(str::to_string).collect()),
        })
    }

    fn fetch(
        &self,
        repository: &Repository,
        folder: &Folder,
        listing: &Listing,
        watch: &mut dyn Progress,
    ) -> Result<()> {
        let unsuitable = |why: String| Error::Unsuitable {
            repository: repository.to_string(),
            why,
        };
        let Listing { commit, names } = listing;
        let files = needed(repository.kind(), names).map_err(unsuitable)?;
        folder.write_listing(commit, names)?;
        let download = Download {
            transport: &self.transport,
            settings: &self.settings,
            repository: &repository.at(commit),
            commit,
            folder,
        };
        for file in &files {
            download.file(file, watch)?;
        }
        if files.iter().any(|name| name == INDEX) {
            for shard in shards(&folder.file(commit, INDEX)).map_err(unsuitable)? {
                download.file(&shard, watch)?;
            }
        }
        // Last, so that a revision never stands for less than the whole.
        match repository.commit() {
            Some(_) => Ok(()),
            None => folder.write_ref(repository.revision(), commit),
        }
    }
}

impl Hub for Network {
    fn resolve(&self, repository: &Repository, watch: &mut dyn Progress) -> Result<Snapshot> {
        let folder = Folder::new(&self.settings.cache, repository);
        if let Some(commit) = repository.commit()
            && folder.kept(commit) == Kept::Whole
        {
            return Ok(folder.snapshot(commit));
        }
        let listing = match self.list(repository, watch) {
            Err(error @ Error::Unreachable { .. }) => {
                let found = kept(&folder, repository, watch);
                let Ok(snapshot) = found else {
                    return Err(error);
                };
                watch.note(&format!(
                    "{error}; going on with commit {} of it, from the cache",
                    snapshot.commit
                ));
                return Ok(snapshot);
            }
            listing => listing?,
        };
        self.fetch(repository, &folder, &listing, watch)?;
        Ok(folder.snapshot(&listing.commit))
    }
}
