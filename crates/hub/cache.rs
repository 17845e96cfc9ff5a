//! One repository in the cache, in the layout of Python's `huggingface_hub`.
//!
//! ```text
//! models--owner--name/
//!   blobs/<etag>                  the content of a file, named by its ETag
//!   blobs/<etag>.incomplete       a partial download
//!   snapshots/<commit>/<file>     a link to the blob
//!   refs/<revision>               the commit that the revision pointed to when it was last fetched
//!   .rlhf/<commit>.json           the names of all files of that commit, to detect missing ones
//! .locks/models--owner--name/<etag>.lock
//! ```

use crate::checksum::Etag;
use crate::choose::{INDEX, is_inside, required_files, shards};
use crate::repository::is_commit;
use crate::{Error, Kind, Progress, Repository, Result, Snapshot};
use hf_hub::{Cache, CacheRepo, Repo, RepoType};
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// The cache folder of a repository.
#[derive(Debug)]
pub(crate) struct Folder {
    kind: Kind,
    path: PathBuf,
    locks: PathBuf,
    snapshots: CacheRepo,
}

/// How much of a commit is in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CacheState {
    /// All required files.
    Complete,
    /// There is no file list, but the files found are enough to use.
    Usable,
    /// Required files are missing; the reason.
    Missing(String),
}

impl Folder {
    pub(crate) fn new(cache: &Path, repository: &Repository) -> Self {
        let kind = match repository.kind() {
            Kind::Model => RepoType::Model,
            Kind::Dataset => RepoType::Dataset,
        };
        let repo = Repo::new(repository.name().into(), kind);
        let name = repo.folder_name();
        Self {
            kind: repository.kind(),
            path: cache.join(&name),
            locks: cache.join(".locks").join(&name),
            snapshots: Cache::new(cache.into()).repo(repo),
        }
    }

    pub(crate) fn snapshot(&self, commit: &str) -> Snapshot {
        Snapshot {
            folder: self.snapshots.pointer_path(commit),
            commit: commit.into(),
        }
    }

    /// The path of a file of a commit, whether it exists or not.
    pub(crate) fn file(&self, commit: &str, name: &str) -> PathBuf {
        self.snapshots.pointer_path(commit).join(name)
    }

    pub(crate) fn blob(&self, etag: &Etag) -> PathBuf {
        self.path.join("blobs").join(etag.as_str())
    }

    /// The commit that a revision pointed to when it was last fetched.
    pub(crate) fn read_ref(&self, revision: &str) -> Option<String> {
        let text = fs::read_to_string(self.path.join("refs").join(revision)).ok()?;
        let commit = text.trim();
        is_commit(commit).then(|| commit.into())
    }

    pub(crate) fn write_ref(&self, revision: &str, commit: &str) -> Result<()> {
        write_atomic(&self.path.join("refs").join(revision), commit.as_bytes())
    }

    /// The names of all files of a commit, from our list or Python's.
    fn listing(&self, commit: &str) -> Option<Vec<String>> {
        let read = |path: PathBuf| -> Option<serde_json::Value> {
            serde_json::from_str(&fs::read_to_string(path).ok()?).ok()
        };
        let name = format!("{commit}.json");
        if let Some(own) = read(self.path.join(".rlhf").join(&name)) {
            return serde_json::from_value(own).ok();
        }
        let python = read(self.path.join("trees").join(&name))?;
        let files = python.get("files")?.as_object()?;
        Some(files.keys().cloned().collect())
    }

    pub(crate) fn write_listing(&self, commit: &str, names: &[String]) -> Result<()> {
        let path = self.path.join(".rlhf").join(format!("{commit}.json"));
        write_atomic(&path, serde_json::json!(names).to_string().as_bytes())
    }

    /// Which of the required files of a commit are in the cache.
    pub(crate) fn state(&self, commit: &str) -> CacheState {
        let (names, known) = match self.listing(commit) {
            Some(names) => (names, CacheState::Complete),
            None => (self.found(commit), CacheState::Usable),
        };
        let complete = || -> std::result::Result<(), String> {
            let missing = |name: &String| !self.file(commit, name).exists();
            let mut files = required_files(self.kind, &names)?;
            if files.iter().any(|name| name == INDEX) && !missing(&INDEX.to_string()) {
                files.extend(shards(&self.file(commit, INDEX))?);
            }
            match files.iter().find(|name| missing(name)) {
                None => Ok(()),
                Some(name) => Err(format!("{name} was never fetched completely")),
            }
        };
        match complete() {
            Ok(()) => known,
            Err(_) if names.is_empty() => CacheState::Missing("it was never fetched".into()),
            Err(why) => CacheState::Missing(why),
        }
    }

    /// The names of the files present in a snapshot.
    fn found(&self, commit: &str) -> Vec<String> {
        fn walk(folder: &Path, prefix: &str, names: &mut Vec<String>) {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
                match fs::metadata(entry.path()) {
                    Ok(data) if data.is_dir() => walk(&entry.path(), &format!("{name}/"), names),
                    Ok(_) => names.push(name),
                    Err(_) => {}
                }
            }
        }
        let mut names = Vec::new();
        walk(&self.snapshots.pointer_path(commit), "", &mut names);
        names.sort();
        names
    }

    /// Waits until no other process (of this program or of Python) downloads this blob. Dropping
    /// the returned file releases the lock.
    pub(crate) fn lock(
        &self,
        etag: &Etag,
        what: &str,
        progress: &mut dyn Progress,
    ) -> Result<File> {
        let path = self.locks.join(format!("{}.lock", etag.as_str()));
        make_folder_of(&path)?;
        let open = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path);
        let file = open.map_err(Error::at(&path))?;
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {
                progress.note(&format!(
                    "{what}: another process is downloading it; waiting"
                ));
            }
            Err(TryLockError::Error(error)) => return Err(Error::at(&path)(error)),
        }
        file.lock().map_err(Error::at(&path))?;
        Ok(file)
    }

    /// Links a blob into the snapshot of a commit.
    pub(crate) fn link(&self, commit: &str, name: &str, etag: &Etag) -> Result<()> {
        let pointer = self.file(commit, name);
        let folder = make_folder_of(&pointer)?;
        let up = "../".repeat(name.split('/').count() + 1);
        let target = format!("{up}blobs/{}", etag.as_str());
        let link = tempfile::Builder::new()
            .prefix(".rlhf-")
            .make_in(folder, |path| {
                symlink(Path::new(&target), path, &self.blob(etag))
            })
            .map_err(Error::at(folder))?;
        let placed = link.into_temp_path().persist(&pointer);
        placed.map_err(|error| Error::at(&pointer)(error.error))
    }
}

#[cfg(unix)]
fn symlink(target: &Path, path: &Path, _: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, path)
}

/// On systems where links need a privilege, the blob is copied.
#[cfg(not(unix))]
fn symlink(_: &Path, path: &Path, blob: &Path) -> io::Result<()> {
    fs::copy(blob, path).map(|_| ())
}

/// Creates the parent folder of a file.
pub(crate) fn make_folder_of(path: &Path) -> Result<&Path> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(Error::at(folder))?;
    Ok(folder)
}

fn write_atomic(path: &Path, content: &[u8]) -> Result<()> {
    make_folder_of(path)?;
    rlhf_files::write(path, content).map_err(Error::at(path))
}

/// The names that stay inside the snapshot folder.
pub(crate) fn safe_names(names: Vec<String>) -> Vec<String> {
    names.into_iter().filter(|name| is_inside(name)).collect()
}
