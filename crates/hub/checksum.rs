//! ETags as checksums of files.

use crate::{Error, Result};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The hub's identifier of a file's content; also the name of its blob in the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Etag(String);

impl Etag {
    /// Parses the value of a header: weak or strong, quoted or not. `None` if it is not a valid
    /// file name.
    pub(crate) fn parse(header: &str) -> Option<Self> {
        let text = header.trim().trim_start_matches("W/").trim_matches('"');
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let whole = !text.is_empty() && text.len() <= 128 && text.bytes().all(plain);
        whole.then(|| Self(text.into()))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The checksum of the file if it differs from the ETag; none if it matches or the ETag is not
    /// a checksum. The ETag of a large file is its SHA-256; that of others is git's blob checksum:
    /// SHA-1 of "blob", the length, a zero byte and the content.
    pub(crate) fn mismatch(&self, path: &Path) -> Result<Option<String>> {
        let hexadecimal = self.0.bytes().all(|byte| byte.is_ascii_hexdigit());
        let found = match self.0.len() {
            64 if hexadecimal => digest(path, Sha256::new())?,
            40 if hexadecimal => {
                let length = std::fs::metadata(path).map_err(Error::at(path))?.len();
                digest(path, Sha1::new_with_prefix(format!("blob {length}\0")))?
            }
            _ => return Ok(None),
        };
        Ok((!found.eq_ignore_ascii_case(&self.0)).then_some(found))
    }
}

fn digest(path: &Path, mut digest: impl Digest) -> Result<String> {
    let mut file = File::open(path).map_err(Error::at(path))?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => digest.update(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::at(path)(error)),
        }
    }
    let bytes = digest.finalize();
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etags_are_compared_with_checksums() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        std::fs::write(&path, "hello\n").unwrap();
        let mismatch = |text: &str| Etag::parse(text).unwrap().mismatch(&path).unwrap();
        // From `git hash-object` and `sha256sum`.
        let git = "ce013625030ba8dba906f756967f9e9ca394464a";
        let sha256 = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";
        for right in [git, sha256, "not-a-checksum"] {
            assert_eq!(mismatch(&format!("\"{right}\"")), None, "{right}");
        }
        assert_eq!(mismatch(&git.replace('c', "d")), Some(git.into()));
        assert_eq!(mismatch(&sha256.replace('5', "6")), Some(sha256.into()));
    }

    #[test]
    fn only_valid_file_names_are_etags() {
        assert_eq!(Etag::parse(" W/\"ab-1\" ").unwrap().as_str(), "ab-1");
        for bad in ["", "\"\"", "../x", "a/b", "a b", "\"..\""] {
            assert_eq!(Etag::parse(bad), None, "{bad}");
        }
    }
}
