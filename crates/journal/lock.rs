//! The lock that allows only one writer per run folder.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

/// The lock file of a run folder. It is empty while the lock is free, and is never deleted.
pub(crate) const LOCK: &str = ".lock";

/// How often the lock is tried: another process may hold it briefly to check it.
const TRIES: u32 = 5;
/// The time between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// The lock of a run folder. It is a lock of the operating system, so it is released when the
/// process ends in any way; the content of the file is only for the error message of other
/// processes.
#[derive(Debug)]
pub(crate) struct Lock(File);

/// The process that holds a lock.
#[derive(Debug, Serialize, Deserialize)]
struct Holder {
    process: u32,
    host: String,
    since: String,
}

impl Lock {
    /// Takes the lock of `folder`, which must exist.
    ///
    /// # Errors
    /// If another process holds it, or it cannot be written. A file system without locks is not an
    /// error.
    pub(crate) fn take(folder: &Path) -> Result<Self> {
        let path = folder.join(LOCK);
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&path).map_err(Error::at(&path))?;
        let mut tries = 1;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if tries < TRIES => {
                    std::thread::sleep(PAUSE);
                    tries += 1;
                }
                Err(TryLockError::WouldBlock) => return Err(locked(folder, file)),
                Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => break,
                Err(TryLockError::Error(error)) => return Err(Error::at(&path)(error)),
            }
        }
        let lock = Self(file);
        lock.write_holder().map_err(Error::at(&path))?;
        Ok(lock)
    }

    /// Returns an error if another process holds the lock of `folder`. Nothing is changed.
    pub(crate) fn check(folder: &Path) -> Result<()> {
        // If the file cannot be opened, taking the lock will report it.
        let Ok(file) = File::open(folder.join(LOCK)) else {
            return Ok(());
        };
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Err(locked(folder, file)),
            _ => Ok(()),
        }
    }

    fn write_holder(&self) -> std::io::Result<()> {
        let holder = Holder {
            process: std::process::id(),
            host: gethostname::gethostname().to_string_lossy().into_owned(),
            since: jiff::Timestamp::now()
                .strftime("%Y-%m-%d %H:%M:%S UTC")
                .to_string(),
        };
        let mut line = serde_json::to_vec(&holder)?;
        line.push(b'\n');
        self.0.set_len(0)?;
        (&self.0).write_all(&line)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The content is only valid while the lock is held.
        let _ = self.0.set_len(0);
    }
}

fn locked(folder: &Path, mut file: File) -> Error {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.read_to_string(&mut text));
    let holder = read.ok().and_then(|_| serde_json::from_str(&text).ok());
    let holder = match holder {
        Some(Holder {
            process,
            host,
            since,
        }) => format!("process {process} on {host} since {since}"),
        None => "another process".into(),
    };
    Error::Locked {
        path: folder.into(),
        holder,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_writer_gets_an_error_that_names_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        Lock::check(folder).unwrap();
        let first = Lock::take(folder).unwrap();
        let written = std::fs::read_to_string(folder.join(LOCK)).unwrap();
        let process = format!("process {} on ", std::process::id());
        for second in [Lock::take(folder).map(|_| ()), Lock::check(folder)] {
            let said = second.unwrap_err().to_string();
            assert!(said.contains(&process) && said.contains(" UTC"), "{said}");
        }
        assert_eq!(std::fs::read_to_string(folder.join(LOCK)).unwrap(), written);
        drop(first);
        assert_eq!(std::fs::read(folder.join(LOCK)).unwrap(), b"");
        Lock::check(folder).unwrap();
        // The content left by a killed process does not block the lock.
        std::fs::write(folder.join(LOCK), written).unwrap();
        Lock::check(folder).unwrap();
        Lock::take(folder).unwrap();
    }
}
