//! One writer a run folder.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::Path;
use std::time::Duration;

/// The file in a run folder that its writer holds. It is empty while nobody does, and stays.
pub(crate) const LOCK: &str = ".lock";

/// How often a lock is tried: somebody may just be looking whether it is held.
const TRIES: u32 = 5;
/// The time between two tries.
const PAUSE: Duration = Duration::from_millis(20);

/// The lock of a run folder. It is the system's, so that it ends with the process that holds it, however
/// that ends; what is written inside is for the message to others.
#[derive(Debug)]
pub(crate) struct Lock(File);

/// Who holds a lock.
#[derive(Debug, Serialize, Deserialize)]
struct Holder {
    process: u32,
    host: String,
    since: String,
}

impl Lock {
    /// Takes the lock of `folder`, which must be there.
    ///
    /// # Errors
    /// If another process holds it, or it cannot be written. A file system without locks is no error.
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
        lock.sign().map_err(Error::at(&path))?;
        Ok(lock)
    }

    /// Refuses a folder whose lock another process holds, and changes nothing.
    pub(crate) fn check(folder: &Path) -> Result<()> {
        // Who cannot open it cannot tell, and will not get further than this either.
        let Ok(file) = File::open(folder.join(LOCK)) else {
            return Ok(());
        };
        match file.try_lock_shared() {
            Err(TryLockError::WouldBlock) => Err(locked(folder, file)),
            _ => Ok(()),
        }
    }

    fn sign(&self) -> std::io::Result<()> {
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
        // Whatever is left inside says nothing once the lock is free.
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
    fn one_at_a_time_and_whoever_comes_second_hears_of_the_first() {
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
        // What a process that was killed left inside holds nobody up.
        std::fs::write(folder.join(LOCK), written).unwrap();
        Lock::check(folder).unwrap();
        Lock::take(folder).unwrap();
    }
}
