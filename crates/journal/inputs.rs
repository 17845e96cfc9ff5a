//! The input files of a run: their state at the start, and which have changed since.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The buffer size, in bytes.
const BUFFER: usize = 1 << 20;

/// Size and times of a file: enough to know that it was not written to since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// The size, in bytes.
    pub size: u64,
    /// The modification time as `stat -c %.9Y` prints it: seconds since 1970.
    pub modified: String,
    /// The status change time as `stat -c %.9Z` prints it. Unlike `modified`, it cannot be set back
    /// by programs that copy or unpack files; not every system has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed: Option<String>,
}

impl Stamp {
    /// The stamp of the file at a path.
    ///
    /// # Errors
    /// If there is no such file.
    pub fn of(path: &Path) -> Result<Self> {
        let metadata = std::fs::metadata(path).map_err(Error::at(path))?;
        let (modified, changed) = times(&metadata);
        Ok(Self {
            size: metadata.len(),
            modified,
            changed,
        })
    }
}

#[cfg(unix)]
fn times(metadata: &Metadata) -> (String, Option<String>) {
    use std::os::unix::fs::MetadataExt;
    let text = |seconds: i64, nanos: i64| format!("{seconds}.{nanos:09}");
    (
        text(metadata.mtime(), metadata.mtime_nsec()),
        Some(text(metadata.ctime(), metadata.ctime_nsec())),
    )
}

#[cfg(not(unix))]
fn times(metadata: &Metadata) -> (String, Option<String>) {
    let since = metadata
        .modified()
        .ok()
        .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
        .unwrap_or_default();
    let text = format!("{}.{:09}", since.as_secs(), since.subsec_nanos());
    (text, None)
}

/// An input file, as listed in `run.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFile {
    /// The setting that names it or its folder, such as `data.train`.
    pub setting: String,
    /// Its path, as given in the setting.
    pub path: String,
    /// Its name in the folder that the setting names; none if the setting names the file itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its size and times.
    #[serde(flatten)]
    pub stamp: Stamp,
    /// SHA-256 of its bytes, 64 hexadecimal digits, as printed by `sha256sum`; none until it is
    /// computed.
    pub sha256: Option<String>,
}

impl InputFile {
    /// Whether both have the same setting and name.
    fn same_place(&self, other: &Self) -> bool {
        self.setting == other.setting && self.name == other.name
    }
}

/// An [`InputFile`] and its path on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// The recorded part.
    pub file: InputFile,
    /// The absolute path.
    pub at: PathBuf,
}

/// An input file that changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputChange {
    /// Its recorded state; none if it is new.
    pub recorded: Option<InputFile>,
    /// Its present state, with the checksum; none if it was deleted.
    pub present: Option<InputFile>,
}

impl InputChange {
    /// The file: its present state if it still exists, else the recorded one.
    #[must_use]
    pub fn file(&self) -> Option<&InputFile> {
        self.present.as_ref().or(self.recorded.as_ref())
    }
}

/// SHA-256 of a file's bytes, 64 hexadecimal digits. `read` is called with the number of bytes
/// after each read.
///
/// # Errors
/// If the file cannot be read.
pub fn sha256(path: &Path, read: &mut dyn FnMut(u64)) -> Result<String> {
    let mut file = File::open(path).map_err(Error::at(path))?;
    let (mut digest, mut buffer) = (Sha256::new(), vec![0; BUFFER]);
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                digest.update(&buffer[..count]);
                read(count as u64);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::at(path)(error)),
        }
    }
    Ok(hexadecimal(&digest.finalize()))
}

/// Bytes in lower-case hexadecimal, as `sha256sum` prints them.
#[must_use]
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The recorded input files that changed. A file with the same size and times counts as unchanged;
/// otherwise its checksum decides, wherever the file is now. The recorded data of an unchanged file
/// is copied to `present`.
///
/// Settings that are not in both lists are ignored: then the settings changed, not a file. `read`
/// is called as in [`sha256`].
///
/// # Errors
/// If a file cannot be read.
pub fn input_changes(
    recorded: &[InputFile],
    present: &mut [Input],
    read: &mut dyn FnMut(u64),
) -> Result<Vec<InputChange>> {
    let mut changes = Vec::new();
    for old in recorded {
        if let Some(new) = present.iter_mut().find(|new| new.file.same_place(old)) {
            changes.extend(change(old, new, read)?);
        } else if present.iter().any(|new| new.file.setting == old.setting) {
            changes.push(InputChange {
                recorded: Some(old.clone()),
                present: None,
            });
        }
    }
    for new in present {
        let known = recorded.iter().any(|old| old.setting == new.file.setting);
        if known && !recorded.iter().any(|old| old.same_place(&new.file)) {
            new.file.sha256 = Some(sha256(&new.at, read)?);
            changes.push(InputChange {
                recorded: None,
                present: Some(new.file.clone()),
            });
        }
    }
    Ok(changes)
}

fn change(
    old: &InputFile,
    new: &mut Input,
    read: &mut dyn FnMut(u64),
) -> Result<Option<InputChange>> {
    let same = old.stamp == new.file.stamp;
    if !same {
        new.file.sha256 = Some(sha256(&new.at, read)?);
    }
    // Without a recorded checksum, different times count as a change.
    if same || (old.sha256.is_some() && old.sha256 == new.file.sha256) {
        new.file = old.clone();
        return Ok(None);
    }
    Ok(Some(InputChange {
        recorded: Some(old.clone()),
        present: Some(new.file.clone()),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn input(setting: &str, name: Option<&str>, at: &Path) -> Input {
        Input {
            file: InputFile {
                setting: setting.into(),
                path: at.display().to_string(),
                name: name.map(str::to_string),
                stamp: Stamp::of(at).unwrap(),
                sha256: None,
            },
            at: at.into(),
        }
    }

    fn changes(recorded: &[InputFile], mut present: Vec<Input>) -> (Vec<InputChange>, u64) {
        let mut bytes = 0;
        let found = input_changes(recorded, &mut present, &mut |count| bytes += count).unwrap();
        (found, bytes)
    }

    #[test]
    fn checksums_equal_those_of_sha256sum() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        fs::write(&path, "hello\n").unwrap();
        let known = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        let mut bytes = 0;
        assert_eq!(sha256(&path, &mut |count| bytes += count).unwrap(), known);
        assert_eq!(bytes, 6);
        assert!(sha256(&folder.path().join("none"), &mut |_| {}).is_err());
    }

    #[test]
    fn a_file_is_read_again_only_if_its_times_differ() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        fs::write(&path, "one\n").unwrap();
        let mut first = input("data.train", None, &path);
        first.file.sha256 = Some(sha256(&path, &mut |_| {}).unwrap());
        let recorded = [first.file];
        let now = |at: &Path| vec![input("data.train", None, at)];
        assert_eq!(changes(&recorded, now(&path)), (vec![], 0));
        // A copy under another name is the same file.
        let copy = folder.path().join("copy.jsonl");
        fs::copy(&path, &copy).unwrap();
        let mut present = now(&copy);
        let found = input_changes(&recorded, &mut present, &mut |_| {}).unwrap();
        assert_eq!((found, &present[0].file), (vec![], &recorded[0]));
        // The same size, with the modification time set back.
        let times = fs::metadata(&path).unwrap().modified().unwrap();
        fs::write(&path, "two\n").unwrap();
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(times)
            .unwrap();
        let (found, bytes) = changes(&recorded, now(&path));
        assert_eq!((found.len(), bytes), (1, 4));
        let sum = |file: &Option<InputFile>| file.clone().unwrap().sha256.unwrap();
        assert_ne!(sum(&found[0].recorded), sum(&found[0].present));
        // Without a recorded checksum a change cannot be excluded.
        let unknown = [InputFile {
            sha256: None,
            ..recorded[0].clone()
        }];
        assert_eq!(changes(&unknown, now(&copy)).0.len(), 1);
    }

    #[test]
    fn added_and_removed_files_are_changes_but_other_settings_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["a", "b"] {
            fs::write(at(name), name).unwrap();
        }
        let of = |names: &[&str]| -> Vec<Input> {
            let one = |name: &&str| input("model.path", Some(name), &at(name));
            names.iter().map(one).collect()
        };
        let recorded = |names: &[&str]| -> Vec<InputFile> {
            of(names).into_iter().map(|input| input.file).collect()
        };
        let (found, _) = changes(&recorded(&["a", "b"]), of(&["a"]));
        assert_eq!(
            found[0].recorded.as_ref().unwrap().name.as_deref(),
            Some("b")
        );
        assert_eq!((found.len(), &found[0].present), (1, &None));
        let (found, _) = changes(&recorded(&["a"]), of(&["a", "b"]));
        assert_eq!((found.len(), &found[0].recorded), (1, &None));
        assert_eq!(found[0].file().unwrap().name.as_deref(), Some("b"));
        let (found, _) = changes(&recorded(&["a"]), vec![input("reward", None, &at("b"))]);
        assert_eq!(found, []);
    }
}
