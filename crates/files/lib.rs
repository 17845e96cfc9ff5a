//! Atomic writes: a reader of a file sees the old content or the new one, never a part.
//!
//! The content is written to a temporary file in the same folder, flushed to disk, and renamed. A
//! crash leaves the old file unchanged, and at most a temporary file with the extension
//! [`UNFINISHED`].
//!
//! ```
//! let folder = tempfile::tempdir()?;
//! let path = folder.path().join("config.toml");
//! rlhf_files::write(&path, b"seed = 1\n")?;
//! assert_eq!(std::fs::read(&path)?, b"seed = 1\n");
//! # std::io::Result::Ok(())
//! ```

#![forbid(unsafe_code)]

use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;

/// The extension of temporary files.
pub const UNFINISHED: &str = "tmp";

/// Writes `content` to the file at `path`, which is created or replaced. Its folder must exist.
///
/// # Errors
/// If the folder is missing or the file cannot be written. Then the old file is unchanged.
pub fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    replace(path, |partial| fs::write(partial, content))
}

/// Calls `write` with the path of a temporary file, and renames the file to `path` once it is on
/// disk. The file gets the mode that the user's umask allows, whatever mode `write` gave it.
///
/// # Errors
/// If the folder is missing, or `write` fails. Then the old file is unchanged and the temporary one
/// is removed.
pub fn replace(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut prefix = path.file_name().unwrap_or_default().to_owned();
    prefix.push(".");
    let suffix = format!(".{UNFINISHED}");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(&suffix);
    // By default the library makes a file that only its owner can read.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let partial = builder.tempfile_in(folder)?.into_temp_path();
    let permissions = fs::metadata(&partial)?.permissions();
    write(&partial)?;
    fs::set_permissions(&partial, permissions)?;
    OpenOptions::new().write(true).open(&partial)?.sync_all()?;
    partial.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn a_failed_write_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.bin");
        write(&path, b"old").unwrap();
        let failed = replace(&path, |partial| {
            fs::write(partial, b"half")?;
            assert_eq!(fs::read(&path)?, b"old");
            Err(io::Error::other("no more"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "no more");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["model.bin"]);
        write(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(write(&folder.path().join("missing/file"), b"x").is_err());
    }

    #[test]
    fn temporary_names_start_with_the_file_name_and_have_the_extension() {
        let folder = tempfile::tempdir().unwrap();
        replace(&folder.path().join("a.json"), |partial| {
            let name = partial.file_name().unwrap().to_str().unwrap();
            assert!(name.starts_with("a.json."), "{name}");
            assert_eq!(partial.extension().unwrap(), UNFINISHED);
            Ok(())
        })
        .unwrap();
    }

    /// The files of a run have the same mode as other files of the user.
    #[test]
    #[cfg(unix)]
    fn files_have_the_mode_of_the_users_umask() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let at = |name| folder.path().join(name);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        fs::write(at("plain"), b"x").unwrap();
        write(&at("ours"), b"x").unwrap();
        assert_eq!(mode(&at("ours")), mode(&at("plain")));
        // Some libraries replace the file by one with another mode.
        replace(&at("theirs"), |partial| {
            tempfile::NamedTempFile::new_in(folder.path())?.persist(partial)?;
            Ok(())
        })
        .unwrap();
        assert_eq!(mode(&at("theirs")), mode(&at("plain")));
    }
}
