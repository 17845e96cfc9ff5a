//! Atomic writes, and clean-up after a crash.

use crate::{Error, Result};
use rlhf_files::UNFINISHED;
use std::fs::{self, File, OpenOptions};
use std::path::Path;

/// [`rlhf_files::write`] with an error that names the file.
///
/// # Errors
/// If the folder is missing or the file cannot be written.
pub fn write_atomic(path: &Path, content: &[u8]) -> Result<()> {
    rlhf_files::write(path, content).map_err(Error::at(path))
}

/// Removes unfinished files in `folder`, if the folder exists.
pub(crate) fn remove_unfinished(folder: &Path) -> Result<()> {
    if !folder.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(folder).map_err(Error::at(folder))? {
        let path = entry.map_err(Error::at(folder))?.path();
        if path.extension().is_some_and(|end| end == UNFINISHED) {
            let removed = if path.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            };
            removed.map_err(Error::at(&path))?;
        }
    }
    Ok(())
}

/// Replaces whatever is at `path` by a complete folder.
pub(crate) fn replace_folder(complete: &Path, path: &Path) -> Result<()> {
    if path.exists() {
        fs::remove_dir_all(path).map_err(Error::at(path))?;
    }
    fs::rename(complete, path).map_err(Error::at(path))
}

/// Opens a file to append to, creating it if missing.
pub(crate) fn append(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(Error::at(path))
}

/// Keeps the lines of a JSONL file whose `step` is below `step`. An incomplete last line is removed
/// too.
pub(crate) fn truncate_lines(path: &Path, step: usize) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let content = fs::read_to_string(path).map_err(Error::at(path))?;
    let mut kept = String::new();
    for line in content.lines() {
        let value: Option<serde_json::Value> = serde_json::from_str(line).ok();
        let of = value.as_ref().and_then(|v| v.get("step")?.as_u64());
        if of.is_some_and(|of| of < step as u64) {
            kept.push_str(line);
            kept.push('\n');
        }
    }
    write_atomic(path, kept.as_bytes())
}
