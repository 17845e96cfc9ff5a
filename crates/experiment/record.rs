//! `run.json`: what a run is, with the checksums of every file that it reads.
//!
//! Checksums are taken in a thread of their own while the run does its work. Until they are known, the
//! sizes and times of the files stand for them.

use crate::changes::{Changes, accept, compare, settings_changes, told};
use crate::config::Config;
use crate::inputs::{find_programs, fitted, inputs};
use crate::notes::{note, warn};
use anyhow::{Context, Result};
use rlhf_journal::{Input, InputChange, InputFile, Stamp, input_changes, sha256};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const FILE: &str = "run.json";
const FILES: &str = "files";
const SETTINGS: &str = "settings";
const ACCEPTED: &str = "accepted_changes";

/// How long the end of a run waits for checksums before it says so.
const PATIENCE: Duration = Duration::from_secs(1);

/// `run.json` of a run that is under way.
pub(crate) struct Record {
    shared: Arc<Shared>,
    hashing: Vec<JoinHandle<()>>,
    changes: Changes,
    step: usize,
}

struct Shared {
    path: PathBuf,
    content: Mutex<Content>,
}

/// What is in the file.
#[derive(Debug, Clone, PartialEq, Default)]
struct Content {
    /// Everything but the files, in order.
    about: Map<String, Value>,
    files: Vec<InputFile>,
}

/// What a run that goes on finds in its `run.json`.
pub(crate) struct Checked {
    content: Content,
    present: Vec<Input>,
    accepted: Vec<Value>,
    changes: Changes,
}

impl Record {
    /// Of a new run in `folder`: `stored` are its settings as the folder has them, `local` the same on
    /// this machine, `repositories` what it has from the hub.
    pub(crate) fn start(
        folder: &Path,
        stored: &Config,
        local: &Config,
        repositories: Vec<Value>,
    ) -> Result<Self> {
        let about = json!({
            "rlhf": env!("CARGO_PKG_VERSION"),
            "objective": local.objective,
            "seed": local.train.seed,
            "dtype": local.model.dtype,
            "frozen_dtype": local.model.frozen_dtype,
            "model": {"path": local.model.path},
            "prior": null,
            "repositories": repositories,
            SETTINGS: stored,
        });
        let about = about.as_object().cloned().unwrap_or_default();
        let checked = Checked {
            content: Content {
                about,
                files: Vec::new(),
            },
            present: inputs(stored, local)?,
            accepted: Vec::new(),
            changes: Changes::Refuse,
        };
        checked.go_on(folder, 0)
    }

    /// Notes one thing more, under a name that is there already or comes last.
    pub(crate) fn set(&self, name: &str, value: Value) -> Result<()> {
        let mut content = self.shared.lock();
        if content.about.get(name) == Some(&value) {
            return Ok(());
        }
        content.about.insert(name.into(), value);
        self.shared.write(&content)
    }

    /// Adds the checkpoints that were fitted inside the run folder, once they are.
    ///
    /// # Errors
    /// If one is another than the run had before, and changes are refused.
    pub(crate) fn add_fitted(&mut self, local: &Config, folder: &Path) -> Result<()> {
        let mut present = fitted(local, folder)?;
        if present.is_empty() {
            return Ok(());
        }
        let recorded = self.shared.lock().files.clone();
        let changes = input_changes(&recorded, &mut present, &mut |_| {})?;
        let accepted = accept(&changes, self.changes, folder, self.step)?;
        let mut content = self.shared.lock();
        content.note(accepted);
        content.forget(&changes);
        self.hashing.extend(self.shared.put(&mut content, present));
        self.shared.write(&content)
    }
}

impl Drop for Record {
    /// Waits until the checksums are written, however the run ended.
    fn drop(&mut self) {
        let began = Instant::now();
        let unfinished = |hashing: &[JoinHandle<()>]| hashing.iter().any(|one| !one.is_finished());
        while unfinished(&self.hashing) && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
        if unfinished(&self.hashing) {
            note(format_args!(
                "{}: waiting for the checksums of the files that the run read",
                self.shared.path.display()
            ));
        }
        for hashing in self.hashing.drain(..) {
            // It says itself what it could not do.
            let _ = hashing.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, content: &Content) -> Result<()> {
        let mut about = content.about.clone();
        let accepted = about.shift_remove(ACCEPTED);
        about.insert(FILES.into(), serde_json::to_value(&content.files)?);
        about.extend(accepted.map(|accepted| (ACCEPTED.into(), accepted)));
        let text = format!("{}\n", serde_json::to_string_pretty(&about)?);
        Ok(rlhf_journal::write_atomic(&self.path, text.as_bytes())?)
    }

    /// Notes these files, and begins to take the checksums that are not known.
    fn put(self: &Arc<Self>, content: &mut Content, present: Vec<Input>) -> Option<JoinHandle<()>> {
        let mut unknown = Vec::new();
        for input in present {
            if input.file.sha256.is_none() {
                unknown.push(input.clone());
            }
            content.put(input.file);
        }
        let shared = self.clone();
        (!unknown.is_empty()).then(|| std::thread::spawn(move || shared.take_checksums(&unknown)))
    }

    fn take_checksums(&self, inputs: &[Input]) {
        for input in inputs {
            let taken =
                sha256(&input.at, &mut |_| {}).and_then(|sum| Ok((sum, Stamp::of(&input.at)?)));
            let why = match taken {
                Ok((sum, stamp)) if stamp == input.file.stamp => {
                    let file = InputFile {
                        sha256: Some(sum),
                        ..input.file.clone()
                    };
                    self.lock().put(file);
                    continue;
                }
                Ok(_) => format!("{}: was changed since the run started", input.at.display()),
                Err(error) => error.to_string(),
            };
            warn(format_args!("no checksum in {FILE}: {why}"));
        }
        let content = self.lock();
        if let Err(error) = self.write(&content) {
            warn(format_args!("{error:#}"));
        }
    }
}

impl Content {
    /// In the place of what is recorded of the same file, or last.
    fn put(&mut self, file: InputFile) {
        let same = |old: &&mut InputFile| old.setting == file.setting && old.name == file.name;
        match self.files.iter_mut().find(same) {
            Some(old) => *old = file,
            None => self.files.push(file),
        }
    }

    fn note(&mut self, accepted: Vec<Value>) {
        if accepted.is_empty() {
            return;
        }
        let list = self.about.entry(ACCEPTED).or_insert_with(|| json!([]));
        if let Some(list) = list.as_array_mut() {
            list.extend(accepted);
        }
    }

    /// Does not ask again for what is gone by the user's leave.
    fn forget(&mut self, accepted: &[InputChange]) {
        let gone = |file: &InputFile| {
            let mut gone = accepted.iter().filter(|change| change.present.is_none());
            gone.any(|change| change.recorded.as_ref() == Some(file))
        };
        self.files.retain(|file| !gone(file));
    }

    /// What a run folder has; nothing where it has no such file.
    fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| path.display().to_string())?,
        };
        let damaged = || format!("{}: damaged: remove it to go on unchecked", path.display());
        let mut about: Map<String, Value> = serde_json::from_str(&text).with_context(damaged)?;
        let files = about.shift_remove(FILES).unwrap_or_else(|| json!([]));
        let files = serde_json::from_value(files).with_context(damaged)?;
        Ok(Some(Self { about, files }))
    }
}

/// Compares a run in `folder` that goes on after `step` steps with what it was started with; nothing is
/// written.
///
/// # Errors
/// If a file that it reads is another now, and `changes` refuses that.
pub(crate) fn check(
    folder: &Path,
    stored: &Config,
    local: &Config,
    step: usize,
    changes: Changes,
) -> Result<Option<Checked>> {
    let content = Content::read(folder)?;
    if step > 0
        && content
            .as_ref()
            .is_none_or(|content| content.files.is_empty())
    {
        note(format_args!(
            "{} has no checksums of files: whether they changed since the run started is not known; \
             from now on they are recorded",
            folder.join(FILE).display()
        ));
    }
    let Some(content) = content else {
        return Ok(None);
    };
    if changes == Changes::Refuse {
        find_programs(&content.files, local, folder)?;
    }
    let mut present = inputs(stored, local)?;
    present.extend(fitted(local, folder)?);
    let found = compare(&content.files, &mut present)?;
    let mut accepted = accept(&found, changes, folder, step)?;
    let settings = serde_json::to_value(stored)?;
    if let Some(before) = content.about.get(SETTINGS) {
        accepted.extend(settings_changes(before, &settings, folder, step));
    }
    let mut content = content;
    content.about.insert(SETTINGS.into(), settings);
    content.forget(&found);
    Ok(Some(Checked {
        content,
        present,
        accepted,
        changes,
    }))
}

impl Checked {
    /// Goes on writing `run.json`.
    pub(crate) fn go_on(self, folder: &Path, step: usize) -> Result<Record> {
        let shared = Arc::new(Shared {
            path: folder.join(FILE),
            content: Mutex::new(self.content),
        });
        let hashing = {
            let mut content = shared.lock();
            content.note(self.accepted);
            let hashing = shared.put(&mut content, self.present);
            shared.write(&content)?;
            hashing
        };
        Ok(Record {
            shared,
            hashing: hashing.into_iter().collect(),
            changes: self.changes,
            step,
        })
    }
}

/// Says in a line each which files of the run in `folder` are others now than when it was started, of
/// the settings that `needed` picks. A run that has no checksums says nothing.
pub(crate) fn say_changes(
    folder: &Path,
    stored: &Config,
    local: &Config,
    needed: impl Fn(&str) -> bool,
) -> Result<()> {
    let Some(content) = Content::read(folder)? else {
        return Ok(());
    };
    let mut present = inputs(stored, local)?;
    present.extend(fitted(local, folder)?);
    present.retain(|input| needed(&input.file.setting));
    let mut recorded = content.files;
    recorded.retain(|file| needed(&file.setting));
    for change in compare(&recorded, &mut present)? {
        note(format_args!(
            "note: not what {} was trained with: {}",
            folder.display(),
            told(&change)
        ));
    }
    Ok(())
}
