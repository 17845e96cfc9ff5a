//! Writes a run folder.

use crate::files::{append, replace_folder, write_atomic};
use crate::lock::Lock;
use crate::{Error, Result};
use rlhf_files::UNFINISHED;
use serde::Serialize;
use serde_json::{Map, Number, Value};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The files with one line per step.
pub(crate) const STEP_FILES: [&str; 3] = ["metrics.jsonl", "timing.jsonl", "samples.jsonl"];
/// Warnings; most runs have none.
pub(crate) const WARNINGS: &str = "warnings.jsonl";
/// All other files of a run.
pub(crate) const OTHER_FILES: [&str; 14] = [
    WARNINGS,
    "config.toml",
    "run.json",
    "held_out.json",
    "calibration.json",
    "frontier.jsonl",
    "kl_reward.svg",
    "report.html",
    "before_after.jsonl",
    "checkpoints",
    "prior",
    "prior_log_probs",
    "final",
    "world",
];

/// What to do with a folder that already holds a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Return an error.
    Refuse,
    /// Remove the files of the run, and nothing else.
    Overwrite,
}

/// An open run folder.
#[derive(Debug)]
pub struct Journal {
    folder: PathBuf,
    metrics: File,
    timing: File,
    samples: File,
    /// Held as long as the folder may be written to.
    _lock: Lock,
}

impl Journal {
    pub(crate) fn open(folder: PathBuf, lock: Lock) -> Result<Self> {
        let file = |name: &str| append(&folder.join(name));
        Ok(Self {
            metrics: file(STEP_FILES[0])?,
            timing: file(STEP_FILES[1])?,
            samples: file(STEP_FILES[2])?,
            folder,
            _lock: lock,
        })
    }

    /// The run folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes `config.toml`.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn config(&self, toml: &str) -> Result<()> {
        write_atomic(&self.folder.join("config.toml"), toml.as_bytes())
    }

    /// Writes `held_out.json`: metrics on held-out data.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn held_out(&self, numbers: &impl Serialize) -> Result<()> {
        self.write_json("held_out.json", numbers)
    }

    /// Writes `calibration.json`: confidence and accuracy of a reward model on held-out pairs.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn calibration(&self, numbers: &impl Serialize) -> Result<()> {
        self.write_json("calibration.json", numbers)
    }

    fn write_json(&self, name: &str, content: &impl Serialize) -> Result<()> {
        let path = self.folder.join(name);
        let mut text = serde_json::to_string_pretty(content).map_err(|source| Error::Json {
            path: path.clone(),
            source,
        })?;
        text.push('\n');
        write_atomic(&path, text.as_bytes())
    }

    /// Appends the metrics of a step to `metrics.jsonl`. They read back bit for bit.
    ///
    /// # Errors
    /// If one is not finite (then nothing is written), or the file cannot be written.
    pub fn metrics<'a>(
        &mut self,
        step: usize,
        values: impl IntoIterator<Item = (&'a str, f64)>,
    ) -> Result<()> {
        let row = row(step, values)?;
        write_line(&mut self.metrics, &self.folder.join(STEP_FILES[0]), &row)
    }

    /// Appends the timing of a step to `timing.jsonl`.
    ///
    /// # Errors
    /// As [`metrics`](Self::metrics).
    pub fn timing<'a>(
        &mut self,
        step: usize,
        values: impl IntoIterator<Item = (&'a str, f64)>,
    ) -> Result<()> {
        let row = row(step, values)?;
        write_line(&mut self.timing, &self.folder.join(STEP_FILES[1]), &row)
    }

    /// Appends one response to `samples.jsonl`; `sample` must have a field `step`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn sample(&mut self, sample: &impl Serialize) -> Result<()> {
        write_line(&mut self.samples, &self.folder.join(STEP_FILES[2]), sample)
    }

    /// Appends a warning about a step to `warnings.jsonl`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn warning(&self, step: usize, sentence: &str) -> Result<()> {
        let path = self.folder.join(WARNINGS);
        let line = serde_json::json!({"step": step, "warning": sentence});
        write_line(&mut append(&path)?, &path, &line)
    }

    /// The folder of the state after `step` steps, `checkpoints/step-N`.
    #[must_use]
    pub fn checkpoint_path(&self, step: usize) -> PathBuf {
        self.folder.join("checkpoints").join(format!("step-{step}"))
    }

    /// Writes `checkpoints/step-N/`: `write` fills a folder with a temporary name, which is then
    /// renamed.
    ///
    /// # Errors
    /// If `write` fails or the folder cannot be created. An older checkpoint of the step is kept.
    pub fn checkpoint<E: From<Error>>(
        &self,
        step: usize,
        write: impl FnOnce(&Path) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        complete_folder(&self.checkpoint_path(step), write)
    }

    /// Writes `final/`, like [`checkpoint`](Self::checkpoint).
    ///
    /// # Errors
    /// As [`checkpoint`](Self::checkpoint).
    pub fn final_model<E: From<Error>>(
        &self,
        write: impl FnOnce(&Path) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        complete_folder(&self.folder.join("final"), write)
    }
}

fn complete_folder<E: From<Error>>(
    path: &Path,
    write: impl FnOnce(&Path) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    let partial = path.with_extension(UNFINISHED);
    if partial.exists() {
        fs::remove_dir_all(&partial).map_err(Error::at(&partial))?;
    }
    let done = fs::create_dir_all(&partial)
        .map_err(|error| E::from(Error::at(&partial)(error)))
        .and_then(|()| write(&partial))
        .and_then(|()| Ok(replace_folder(&partial, path)?));
    done.inspect_err(|_| {
        // A partial folder is useless, and the disk may be full. The first error is the one to
        // report.
        let _ = fs::remove_dir_all(&partial);
    })
}

fn row<'a>(step: usize, values: impl IntoIterator<Item = (&'a str, f64)>) -> Result<Value> {
    let mut row = Map::new();
    row.insert("step".into(), step.into());
    for (name, value) in values {
        let number = Number::from_f64(value).ok_or_else(|| Error::NotFinite {
            name: name.into(),
            value,
        })?;
        row.insert(name.into(), number.into());
    }
    Ok(row.into())
}

fn write_line(file: &mut File, path: &Path, value: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(value).map_err(|source| Error::Json {
        path: path.into(),
        source,
    })?;
    line.push(b'\n');
    // One write per line, so that a crash leaves only complete lines.
    file.write_all(&line)
        .and_then(|()| file.flush())
        .map_err(Error::at(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Claim;
    use crate::{checkpoints, last_checkpoint, metrics, next_free};

    #[test]
    fn numbers_read_back_bit_for_bit() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(folder.path(), Existing::Refuse).unwrap();
        let values = [0.1 + 0.2, 1e-300, -3.0, f64::from(0.3f32)];
        for (step, value) in values.into_iter().enumerate() {
            journal.metrics(step, [("a/b", value), ("c", 1.0)]).unwrap();
        }
        let rows = metrics(folder.path()).unwrap();
        let read: Vec<f64> = rows.iter().map(|row| row.values["a/b"]).collect();
        assert_eq!(read, values);
        assert_eq!(rows[2].step, 2);
    }

    #[test]
    fn numbers_that_are_not_finite_are_named_and_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(folder.path(), Existing::Refuse).unwrap();
        let error = journal
            .metrics(7, [("a", 1.0), ("objective/kl", f64::NAN)])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "objective/kl is NaN: only finite numbers can be written"
        );
        assert_eq!(metrics(folder.path()).unwrap(), []);
    }

    #[test]
    fn a_run_is_only_overwritten_on_request() {
        let base = tempfile::tempdir().unwrap();
        let folder = next_free(base.path(), "dpo");
        assert!(folder.ends_with("dpo-000"));
        let mut journal = Journal::create(&folder, Existing::Refuse).unwrap();
        journal.metrics(0, [("a", 1.0)]).unwrap();
        drop(journal);
        assert!(next_free(base.path(), "dpo").ends_with("dpo-001"));
        let error = Journal::create(&folder, Existing::Refuse)
            .unwrap_err()
            .to_string();
        for part in ["dpo-000", "--resume", "--overwrite"] {
            assert!(error.contains(part), "{error}");
        }
        fs::write(folder.join("notes.txt"), "mine").unwrap();
        Journal::create(&folder, Existing::Overwrite).unwrap();
        assert_eq!(metrics(&folder).unwrap(), []);
        assert!(folder.join("notes.txt").exists());
        let other = base.path().join("other");
        fs::create_dir(&other).unwrap();
        fs::write(other.join("thesis.tex"), "").unwrap();
        assert!(matches!(
            Journal::create(&other, Existing::Overwrite),
            Err(Error::NotARun(_))
        ));
        assert_eq!(fs::read_dir(&other).unwrap().count(), 1, "nothing is added");
    }

    #[test]
    fn a_run_folder_has_only_one_writer() {
        let base = tempfile::tempdir().unwrap();
        let folder = base.path().join("run");
        let mut journal = Journal::create(&folder, Existing::Refuse).unwrap();
        journal.metrics(0, [("a", 1.0)]).unwrap();
        let others = [
            Journal::create(&folder, Existing::Refuse),
            Journal::create(&folder, Existing::Overwrite),
            Journal::resume(&folder, 0),
        ];
        for other in others {
            let said = other.unwrap_err().to_string();
            assert!(said.contains("run is in use by process "), "{said}");
        }
        assert_eq!(metrics(&folder).unwrap().len(), 1);
        drop(journal);
        Journal::resume(&folder, 1).unwrap();
        // A folder that was claimed and released without a run is free.
        let claimed = Claim::new(&base.path().join("new"), Existing::Refuse).unwrap();
        drop(claimed);
        Journal::create(&base.path().join("new"), Existing::Refuse).unwrap();
    }

    #[test]
    fn concurrent_runs_get_different_folders() {
        let base = tempfile::tempdir().unwrap();
        let claim = || Claim::next(&base.path().join("runs"), "dpo").unwrap();
        let mut claims: Vec<Claim> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(claim)).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        claims.sort_by_key(|claim| claim.folder().to_path_buf());
        for (number, claim) in claims.iter().enumerate() {
            let name = format!("dpo-{number:03}");
            assert!(claim.folder().ends_with(&name), "{name}");
        }
    }

    #[test]
    fn checkpoints_are_complete_or_absent() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::create(folder.path(), Existing::Refuse).unwrap();
        let write = |text: &'static str| {
            move |path: &Path| fs::write(path.join("x"), text).map_err(Error::at(path))
        };
        for step in [10, 9, 100] {
            journal.checkpoint(step, write("first")).unwrap();
        }
        let failed = journal.checkpoint(200, |path: &Path| {
            fs::write(path.join("x"), "half").unwrap();
            Err(Error::NoRun(path.into(), "x"))
        });
        assert!(failed.is_err());
        assert!(!folder.path().join("checkpoints/step-200.tmp").exists());
        journal.checkpoint(9, write("second")).unwrap();
        let found = checkpoints(folder.path()).unwrap();
        let steps: Vec<usize> = found.iter().map(|checkpoint| checkpoint.step).collect();
        assert_eq!(steps, [9, 10, 100]);
        assert_eq!(
            fs::read_to_string(found[0].path.join("x")).unwrap(),
            "second"
        );
        assert_eq!(last_checkpoint(folder.path()).unwrap().step, 100);
    }

    #[test]
    fn resuming_removes_later_lines_and_unfinished_files() {
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(folder.path(), Existing::Refuse).unwrap();
        for step in 0..4 {
            journal.metrics(step, [("a", 0.5)]).unwrap();
        }
        let path = folder.path().join("metrics.jsonl");
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{whole}{{\"step\":4,\"a\":0.")).unwrap();
        assert!(
            metrics(folder.path())
                .unwrap_err()
                .to_string()
                .contains("metrics.jsonl:5")
        );
        for step in [2, 3] {
            journal.warning(step, "look").unwrap();
        }
        let half = folder.path().join("checkpoints/step-9.tmp");
        fs::create_dir_all(&half).unwrap();
        fs::write(folder.path().join("run.json.x.tmp"), "{").unwrap();
        drop(journal);
        let mut journal = Journal::resume(folder.path(), 3).unwrap();
        journal.metrics(3, [("a", 0.5)]).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), whole);
        let warnings = fs::read_to_string(folder.path().join("warnings.jsonl")).unwrap();
        assert_eq!(warnings, "{\"step\":2,\"warning\":\"look\"}\n");
        assert!(!half.exists() && !folder.path().join("run.json.x.tmp").exists());
        assert!(Journal::resume(&folder.path().join("none"), 3).is_err());
    }
}
