//! Claims a run folder for one process.

use crate::files::{remove_unfinished, truncate_lines};
use crate::journal::{OTHER_FILES, STEP_FILES, WARNINGS};
use crate::lock::{LOCK, Lock};
use crate::{Error, Existing, Journal, Result};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A run folder that is locked for this process and not changed yet.
#[derive(Debug)]
pub struct Claim {
    folder: PathBuf,
    lock: Lock,
}

impl Claim {
    /// Claims `folder` for a new run; it is created if missing.
    ///
    /// # Errors
    /// If another process holds the lock, the folder holds a run and `existing` refuses it, it
    /// holds other files, or it cannot be written.
    pub fn new(folder: &Path, existing: Existing) -> Result<Self> {
        check(folder, existing)?;
        fs::create_dir_all(folder).map_err(unwritable(folder))?;
        let lock = Lock::take(folder)?;
        // Another process may have written a run since the first check.
        check_content(folder, existing)?;
        Ok(Self {
            folder: folder.into(),
            lock,
        })
    }

    /// Creates and claims the first of `base/objective-000`, `base/objective-001`, … that does not
    /// exist. Processes that start at the same time get different folders.
    ///
    /// # Errors
    /// If `base` cannot be written.
    pub fn next(base: &Path, objective: &str) -> Result<Self> {
        fs::create_dir_all(base).map_err(unwritable(base))?;
        loop {
            let folder = next_free(base, objective);
            match fs::create_dir(&folder) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => continue,
                made => made.map_err(unwritable(&folder))?,
            }
            match Self::new(&folder, Existing::Refuse) {
                // Another process was given exactly this folder.
                Err(Error::Locked { .. } | Error::Exists(_)) => {}
                claim => return claim,
            }
        }
    }

    /// Claims the folder of a run, to continue it.
    ///
    /// # Errors
    /// If another process holds the lock, there is no run, or it cannot be written.
    pub fn existing(folder: &Path) -> Result<Self> {
        if !folder.join(STEP_FILES[0]).exists() {
            return Err(Error::NoRun(folder.into(), STEP_FILES[0]));
        }
        Ok(Self {
            folder: folder.into(),
            lock: Lock::take(folder)?,
        })
    }

    /// The run folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts a new run: removes the files of an older run, and nothing else.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn create(self) -> Result<Journal> {
        clear(&self.folder)?;
        Journal::open(self.folder, self.lock)
    }

    /// Continues the run after `step` steps: removes the lines of later steps and unfinished files.
    ///
    /// # Errors
    /// If its files cannot be written.
    pub fn resume(self, step: usize) -> Result<Journal> {
        remove_unfinished(&self.folder)?;
        remove_unfinished(&self.folder.join("checkpoints"))?;
        for name in STEP_FILES.into_iter().chain([WARNINGS]) {
            truncate_lines(&self.folder.join(name), step)?;
        }
        Journal::open(self.folder, self.lock)
    }
}

impl Journal {
    /// Starts a new run in `folder`, which is created if missing.
    ///
    /// # Errors
    /// If another process writes to the folder, it holds a run and `existing` refuses it, it holds
    /// other files, or it cannot be written.
    pub fn create(folder: &Path, existing: Existing) -> Result<Self> {
        Claim::new(folder, existing)?.create()
    }

    /// Checks whether [`create`](Self::create) would accept `folder`. Nothing is changed.
    ///
    /// # Errors
    /// As [`create`](Self::create), as far as it can be known without writing.
    pub fn check(folder: &Path, existing: Existing) -> Result<()> {
        check(folder, existing)
    }

    /// Continues the run in `folder` after `step` steps: removes the lines of later steps and
    /// unfinished files.
    ///
    /// # Errors
    /// If another process writes to the folder, there is no run, or its files cannot be written.
    pub fn resume(folder: &Path, step: usize) -> Result<Self> {
        Claim::existing(folder)?.resume(step)
    }
}

/// The first of `base/objective-000`, `base/objective-001`, … that does not exist.
#[must_use]
pub fn next_free(base: &Path, objective: &str) -> PathBuf {
    (0..)
        .map(|number| base.join(format!("{objective}-{number:03}")))
        .find(|path| !path.exists())
        .unwrap_or_else(|| base.join(objective))
}

/// Checks whether a new run may be written to `folder`. Nothing is changed.
pub(crate) fn check(folder: &Path, existing: Existing) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    if !folder.is_dir() {
        return Err(Error::NotAFolder(folder.into()));
    }
    Lock::check(folder)?;
    check_content(folder, existing)
}

fn check_content(folder: &Path, existing: Existing) -> Result<()> {
    let mut empty = true;
    for entry in fs::read_dir(folder).map_err(Error::at(folder))? {
        empty &= entry.map_err(Error::at(folder))?.file_name() == LOCK;
    }
    let mut all = STEP_FILES.iter().chain(&OTHER_FILES);
    match existing {
        _ if empty => Ok(()),
        _ if !all.any(|name| folder.join(name).exists()) => Err(Error::NotARun(folder.into())),
        Existing::Refuse => Err(Error::Exists(folder.into())),
        Existing::Overwrite => Ok(()),
    }
}

/// Removes the files of a run in `folder`.
fn clear(folder: &Path) -> Result<()> {
    for name in STEP_FILES.iter().chain(&OTHER_FILES) {
        let path = folder.join(name);
        let removed = if path.is_dir() {
            fs::remove_dir_all(&path)
        } else if path.exists() {
            fs::remove_file(&path)
        } else {
            continue;
        };
        removed.map_err(Error::at(&path))?;
    }
    Ok(())
}

fn unwritable(folder: &Path) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Unwritable {
        path: folder.into(),
        source,
    }
}
