//! Reads run folders.

use crate::{Error, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The metrics of one step.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Row {
    /// The number of steps done before it.
    pub step: usize,
    /// The values by name.
    #[serde(flatten)]
    pub values: BTreeMap<String, f64>,
}

/// A saved state of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The number of steps done.
    pub step: usize,
    /// Its folder.
    pub path: PathBuf,
}

/// The lines of a JSONL file.
///
/// # Errors
/// If the file cannot be read, or a line is not a `T`; the error names the line.
pub fn lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let content = fs::read_to_string(path).map_err(Error::at(path))?;
    let parse = |(index, line)| {
        serde_json::from_str(line).map_err(|source| Error::Line {
            path: path.into(),
            line: index + 1,
            source,
        })
    };
    content.lines().enumerate().map(parse).collect()
}

/// The metrics of the run in `folder`, in the order of steps.
///
/// # Errors
/// As [`lines`].
pub fn metrics(folder: &Path) -> Result<Vec<Row>> {
    lines(&folder.join("metrics.jsonl"))
}

/// The timing of the run in `folder`, in the order of steps.
///
/// # Errors
/// As [`lines`].
pub fn timing(folder: &Path) -> Result<Vec<Row>> {
    lines(&folder.join("timing.jsonl"))
}

/// The complete checkpoints of the run in `folder`, by step.
///
/// # Errors
/// If the folder cannot be read. A run without checkpoints has none.
pub fn checkpoints(folder: &Path) -> Result<Vec<Checkpoint>> {
    let path = folder.join("checkpoints");
    if !path.exists() {
        return Ok(vec![]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(&path).map_err(Error::at(&path))? {
        let path = entry.map_err(Error::at(&path))?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let step = name.and_then(|name| name.strip_prefix("step-")?.parse().ok());
        found.extend(step.map(|step| Checkpoint { step, path }));
    }
    found.sort_by_key(|checkpoint| checkpoint.step);
    Ok(found)
}

/// The last checkpoint of the run in `folder`, from which it resumes.
///
/// # Errors
/// If there is none.
pub fn last_checkpoint(folder: &Path) -> Result<Checkpoint> {
    let none = || Error::NoRun(folder.into(), "checkpoints/step-N");
    checkpoints(folder)?.pop().ok_or_else(none)
}
