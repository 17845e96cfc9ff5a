//! A file of numbers that are expensive to compute, written as they are computed.

use crate::files::append;
use crate::{Error, Result, hexadecimal, write_atomic};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file of numbers that grows as they are computed. The first line identifies them; each later
/// line holds some numbers and a checksum of all numbers so far. A crash loses only the line being
/// written.
#[derive(Debug)]
pub struct NumberFile {
    path: PathBuf,
    file: File,
    digest: Sha256,
}

/// The numbers read from a file.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredNumbers {
    /// The valid numbers, from the first on.
    pub numbers: Vec<f32>,
    /// Why not all numbers of the file are valid; none if they are.
    pub dropped: Option<Dropped>,
}

/// Why numbers in a file were discarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// They have another identity.
    OtherIdentity,
    /// A line is damaged: it and all later lines are discarded.
    Damaged,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    identity: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    numbers: Vec<f32>,
    sha256: String,
}

impl NumberFile {
    /// Opens the file at `path` for numbers of this `identity`; the file and its folder are created
    /// if missing. Numbers of another identity and damaged lines are removed from it.
    ///
    /// # Errors
    /// If it cannot be read or written.
    pub fn open(path: &Path, identity: &str) -> Result<(Self, StoredNumbers)> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(Error::at(folder))?;
        }
        let text = match fs::read(path) {
            Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Error::at(path)(error)),
        };
        let (kept, whole, digest) = read(text.as_deref(), identity, path)?;
        if text.as_deref() != Some(&whole) {
            write_atomic(path, whole.as_bytes())?;
        }
        let numbers = Self {
            path: path.into(),
            file: append(path)?,
            digest,
        };
        Ok((numbers, kept))
    }

    /// Appends finite numbers.
    ///
    /// # Errors
    /// If one is not finite, or the file cannot be written.
    pub fn append(&mut self, numbers: &[f32]) -> Result<()> {
        if let Some(value) = numbers.iter().find(|number| !number.is_finite()) {
            return Err(Error::NotFinite {
                name: self.path.display().to_string(),
                value: f64::from(*value),
            });
        }
        update_digest(&mut self.digest, numbers);
        let line = Line {
            numbers: numbers.into(),
            sha256: hex_digest(&self.digest),
        };
        // One write per line, so that a crash leaves only complete lines.
        let text = json_line(&line, &self.path)?;
        let written = self.file.write_all(text.as_bytes());
        written.map_err(Error::at(&self.path))
    }
}

/// The numbers in a file, its valid part, and the digest so far.
fn read(
    text: Option<&str>,
    identity: &str,
    path: &Path,
) -> Result<(StoredNumbers, String, Sha256)> {
    let head = Head {
        identity: identity.into(),
    };
    let mut whole = json_line(&head, path)?;
    let mut digest = Sha256::new_with_prefix(identity);
    let mut numbers = Vec::new();
    let mut dropped = None;
    let mut lines = text.unwrap_or_default().split_inclusive('\n');
    match lines.next() {
        Some(first) if first == whole => {}
        Some(first) => {
            dropped = Some(match serde_json::from_str::<Head>(first) {
                Ok(_) => Dropped::OtherIdentity,
                Err(_) => Dropped::Damaged,
            });
            lines = "".split_inclusive('\n');
        }
        None => {}
    }
    for text in lines {
        let line: Option<Line> = serde_json::from_str(text).ok();
        let line = line.filter(|line| {
            let mut next = digest.clone();
            update_digest(&mut next, &line.numbers);
            let valid = text.ends_with('\n') && hex_digest(&next) == line.sha256;
            if valid {
                digest = next;
            }
            valid
        });
        let Some(line) = line else {
            dropped = Some(Dropped::Damaged);
            break;
        };
        whole.push_str(text);
        numbers.extend(line.numbers);
    }
    Ok((StoredNumbers { numbers, dropped }, whole, digest))
}

fn update_digest(digest: &mut Sha256, numbers: &[f32]) {
    for number in numbers {
        digest.update(number.to_le_bytes());
    }
}

fn hex_digest(digest: &Sha256) -> String {
    hexadecimal(&digest.clone().finalize())
}

fn json_line(value: &impl Serialize, path: &Path) -> Result<String> {
    let text = serde_json::to_string(value).map_err(|source| Error::Json {
        path: path.into(),
        source,
    })?;
    Ok(text + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path, identity: &str) -> (NumberFile, Vec<f32>, Option<Dropped>) {
        let (file, StoredNumbers { numbers, dropped }) = NumberFile::open(path, identity).unwrap();
        (file, numbers, dropped)
    }

    #[test]
    fn numbers_read_back_bit_for_bit_and_can_be_continued() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prior/train.jsonl");
        let all = [-0.1f32, -1e-30, -123_456.79, f32::MIN, -0.0, -16_777_217.0];
        let (mut file, numbers, dropped) = open(&path, "a");
        assert_eq!((numbers, dropped), (vec![], None));
        file.append(&all[..2]).unwrap();
        file.append(&all[2..]).unwrap();
        let whole = fs::read(&path).unwrap();
        let (_, numbers, dropped) = open(&path, "a");
        let bits = |numbers: &[f32]| numbers.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!((bits(&numbers), dropped), (bits(&all), None));
        // After truncation in the middle of a line, it continues to the same file.
        fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        let (mut file, numbers, dropped) = open(&path, "a");
        assert_eq!((&numbers[..], dropped), (&all[..2], Some(Dropped::Damaged)));
        file.append(&all[2..]).unwrap();
        assert_eq!(fs::read(&path).unwrap(), whole);
        assert!(file.append(&[f32::NEG_INFINITY]).is_err());
        assert_eq!(fs::read(&path).unwrap(), whole);
    }

    #[test]
    fn numbers_of_another_identity_and_damaged_ones_are_discarded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("train.jsonl");
        let (mut file, ..) = open(&path, "a");
        for number in [-1.5f32, -2.5, -3.5] {
            file.append(&[number]).unwrap();
        }
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace("-2.5", "-2.25")).unwrap();
        let (_, numbers, dropped) = open(&path, "a");
        assert_eq!((numbers, dropped), (vec![-1.5], Some(Dropped::Damaged)));
        // The valid numbers were kept in the file.
        let (_, numbers, dropped) = open(&path, "a");
        assert_eq!((numbers, dropped), (vec![-1.5], None));
        let (_, numbers, dropped) = open(&path, "b");
        assert_eq!((numbers, dropped), (vec![], Some(Dropped::OtherIdentity)));
        assert_eq!(open(&path, "b").2, None);
        // The digest includes the identity, so lines cannot be moved to another file.
        fs::write(
            &path,
            text.replace("{\"identity\":\"a\"}", "{\"identity\":\"b\"}"),
        )
        .unwrap();
        assert_eq!(open(&path, "b").1, [0.0f32; 0]);
        fs::write(&path, [0xff, 0, 7]).unwrap();
        assert_eq!(open(&path, "b").2, Some(Dropped::Damaged));
    }
}
