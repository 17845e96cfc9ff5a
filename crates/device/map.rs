//! Files mapped into memory.

use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;
use std::fs::File;
use std::io;
use std::ops::{Deref, Range};
use std::path::Path;

/// The bytes of a file, which the system reads from the disk when they are accessed.
#[derive(Debug)]
pub struct MappedFile(Option<Mmap>);

impl MappedFile {
    /// Maps a file. It must not be shortened while it is mapped. Replacing a checkpoint by renaming another
    /// file over it is safe: the map keeps the old file.
    ///
    /// # Errors
    /// If it cannot be opened or mapped.
    #[allow(unsafe_code)]
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            return Ok(Self(None));
        }
        // SAFETY: the map is only read, and dropped with this value. That no process shortens the file is
        // required of the caller above, as by every reader of checkpoints.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self(Some(map)))
    }

    /// Tells the system that these bytes are not needed soon: it may drop their pages, and reads them
    /// from the disk again if they are accessed.
    #[allow(unsafe_code)]
    pub fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Some(map) = &self.0
            && range.end <= map.len()
        {
            let (advice, length) = (UncheckedAdvice::DontNeed, range.len());
            // SAFETY: the map is of a file and was never written to, so dropped pages can be read again.
            // If the call fails, only memory is lost.
            let _ = unsafe { map.unchecked_advise_range(advice, range.start, length) };
        }
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or(&[])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// KiB of a mapped file that are in memory.
    #[cfg(target_os = "linux")]
    fn resident(path: &Path) -> usize {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let of_file = maps.split(path.to_str().unwrap()).nth(1).unwrap();
        let line = of_file.lines().find(|line| line.starts_with("Rss:"));
        let number = line.unwrap().split_whitespace().nth(1).unwrap();
        number.parse().unwrap()
    }

    #[test]
    fn maps_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, b"bytes").unwrap();
        assert_eq!(&*MappedFile::open(&path).unwrap(), b"bytes");
        // The bytes are the same before and after their release.
        let long: Vec<u8> = (0..100_000).map(|i| (i % 251) as u8).collect();
        let other = folder.path().join("long");
        std::fs::write(&other, &long).unwrap();
        let map = MappedFile::open(&other).unwrap();
        assert_eq!(&*map, long);
        for range in [0..100_000, 5..20_000, 7..7, 90_000..200_000] {
            map.release(range);
            assert_eq!(&*map, long);
        }
        #[cfg(target_os = "linux")]
        {
            assert!(resident(&other) >= 96, "{} KiB", resident(&other));
            map.release(0..100_000);
            assert_eq!(resident(&other), 0);
        }
        std::fs::write(&path, b"").unwrap();
        assert!(MappedFile::open(&path).unwrap().is_empty());
        assert!(MappedFile::open(&folder.path().join("none")).is_err());
    }
}
