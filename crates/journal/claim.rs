//! A run folder before it is written to.

use crate::files::{remove_unfinished, truncate_lines};
use crate::journal::{LINES, OTHERS, WARNINGS};
use crate::lock::{LOCK, Lock};
use crate::{Error, Existing, Journal, Result};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A run folder that no other process may write to, and that is as it was found.
#[derive(Debug)]
pub struct Claim {
    folder: PathBuf,
    lock: Lock,
}

impl Claim {
    /// Claims `folder` for a new run; it is created if missing.
    ///
    /// # Errors
    /// If another process has it, it holds a run and `existing` refuses, holds something else, or cannot
    /// be written.
    pub fn new(folder: &Path, existing: Existing) -> Result<Self> {
        check(folder, existing)?;
        fs::create_dir_all(folder).map_err(unwritable(folder))?;
        let lock = Lock::take(folder)?;
        // Another run may have begun and ended here since the first look.
        check_content(folder, existing)?;
        Ok(Self {
            folder: folder.into(),
            lock,
        })
    }

    /// Creates and claims the first of `base/objective-000`, `base/objective-001`, … that does not exist.
    /// Processes that start at once get one each.
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
                // Somebody was told to write to just this one.
                Err(Error::Locked { .. } | Error::Exists(_)) => {}
                claim => return claim,
            }
        }
    }

    /// Claims the folder of a run, to continue it.
    ///
    /// # Errors
    /// If another process has it, there is no run, or it cannot be written.
    pub fn again(folder: &Path) -> Result<Self> {
        if !folder.join(LINES[0]).exists() {
            return Err(Error::NoRun(folder.into(), LINES[0]));
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

    /// Begins a new run: what an older one left is removed, and nothing else.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub fn create(self) -> Result<Journal> {
        clear(&self.folder)?;
        Journal::open(self.folder, self.lock)
    }

    /// Continues the run after `step` steps: lines of later steps are removed, and so is what a crash left
    /// unfinished.
    ///
    /// # Errors
    /// If its files cannot be written.
    pub fn resume(self, step: usize) -> Result<Journal> {
        remove_unfinished(&self.folder)?;
        remove_unfinished(&self.folder.join("checkpoints"))?;
        for name in LINES.into_iter().chain([WARNINGS]) {
            truncate_lines(&self.folder.join(name), step)?;
        }
        Journal::open(self.folder, self.lock)
    }
}

impl Journal {
    /// A new run in `folder`, which is created if missing.
    ///
    /// # Errors
    /// If another process writes to the folder, it holds a run and `existing` refuses, holds something
    /// else, or cannot be written.
    pub fn create(folder: &Path, existing: Existing) -> Result<Self> {
        Claim::new(folder, existing)?.create()
    }

    /// Whether [`create`](Self::create) would agree to write to `folder`; nothing is changed.
    ///
    /// # Errors
    /// As there, as far as it can be known without writing.
    pub fn check(folder: &Path, existing: Existing) -> Result<()> {
        check(folder, existing)
    }

    /// Continues the run in `folder` after `step` steps: lines of later steps are removed, and so
    /// is what a crash left unfinished.
    ///
    /// # Errors
    /// If another process writes to the folder, there is no run, or its files cannot be written.
    pub fn resume(folder: &Path, step: usize) -> Result<Self> {
        Claim::again(folder)?.resume(step)
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

/// Whether a new run may be written to `folder`; nothing is changed.
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
    let mut all = LINES.iter().chain(&OTHERS);
    match existing {
        _ if empty => Ok(()),
        _ if !all.any(|name| folder.join(name).exists()) => Err(Error::NotARun(folder.into())),
        Existing::Refuse => Err(Error::Exists(folder.into())),
        Existing::Overwrite => Ok(()),
    }
}

/// Removes what a run leaves in `folder`.
fn clear(folder: &Path) -> Result<()> {
    for name in LINES.iter().chain(&OTHERS) {
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
