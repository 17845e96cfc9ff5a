//! `run.json`: the settings of a run and the checksums of every file that it reads.
//!
//! Checksums are computed in a separate thread while the run proceeds. Until they are known, a file is
//! identified by its size and modification time.

use crate::changes::{Changes, accept, compare, describe, settings_changes};
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

/// How long the end of a run waits for checksums before it notes that it waits.
const WAIT_BEFORE_NOTE: Duration = Duration::from_secs(1);

/// `run.json` of a running run.
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

/// The content of the file.
#[derive(Debug, Clone, PartialEq, Default)]
struct Content {
    /// Everything but the files, in order.
    about: Map<String, Value>,
    files: Vec<InputFile>,
}

/// The `run.json` of a resumed run, compared with the present files.
pub(crate) struct Checked {
    content: Content,
    present: Vec<Input>,
    accepted: Vec<Value>,
    changes: Changes,
}

impl Record {
    /// The record of a new run in `folder`. `stored` are its settings as recorded in the folder, `local`
    /// the same with local paths, `repositories` the hub repositories it uses.
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
        checked.resume(folder, 0)
    }

    /// Sets a field, keeping its position if it exists, and writes the file.
    pub(crate) fn set(&self, name: &str, value: Value) -> Result<()> {
        let mut content = self.shared.lock();
        if content.about.get(name) == Some(&value) {
            return Ok(());
        }
        content.about.insert(name.into(), value);
        self.shared.write(&content)
    }

    /// Adds the prior checkpoints that were fitted inside the run folder.
    ///
    /// # Errors
    /// If one differs from the recorded one, and changes are refused.
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
    /// Waits until the checksums are written, also after an error.
    fn drop(&mut self) {
        let began = Instant::now();
        let unfinished = |hashing: &[JoinHandle<()>]| hashing.iter().any(|one| !one.is_finished());
        while unfinished(&self.hashing) && began.elapsed() < WAIT_BEFORE_NOTE {
            std::thread::sleep(Duration::from_millis(1));
        }
        if unfinished(&self.hashing) {
            note(format_args!(
                "{}: waiting for the checksums of the files that the run read",
                self.shared.path.display()
            ));
        }
        for hashing in self.hashing.drain(..) {
            // The thread warns about its own errors.
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

    /// Records these files, and starts a thread for the checksums that are unknown.
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
                Ok(_) => format!("{}: changed since the run started", input.at.display()),
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
    /// Replaces the record of the same file, or appends it.
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

    /// Removes files whose absence the user accepted, so that it is not reported again.
    fn forget(&mut self, accepted: &[InputChange]) {
        let gone = |file: &InputFile| {
            let mut gone = accepted.iter().filter(|change| change.present.is_none());
            gone.any(|change| change.recorded.as_ref() == Some(file))
        };
        self.files.retain(|file| !gone(file));
    }

    /// Reads `run.json` of a run folder; `None` if there is none.
    fn read(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join(FILE);
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| path.display().to_string())?,
        };
        let damaged = || {
            format!(
                "{}: damaged: remove it to continue without checking files",
                path.display()
            )
        };
        let mut about: Map<String, Value> = serde_json::from_str(&text).with_context(damaged)?;
        let files = about.shift_remove(FILES).unwrap_or_else(|| json!([]));
        let files = serde_json::from_value(files).with_context(damaged)?;
        Ok(Some(Self { about, files }))
    }
}

/// Compares the files and settings of the run in `folder`, resumed after `step` steps, with those it was
/// started with. Writes nothing.
///
/// # Errors
/// If a file changed, and `changes` refuses that.
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
            "{}: holds no checksums, so changes of files since the run started cannot be detected; they \
             are recorded from now on",
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
    /// Continues the record.
    pub(crate) fn resume(self, folder: &Path, step: usize) -> Result<Record> {
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

/// Notes each file of the run in `folder` that changed since it was started, among the settings that
/// `needed` selects. Notes nothing if the run has no checksums.
pub(crate) fn note_changed_inputs(
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
            "changed since {} was trained: {}",
            folder.display(),
            describe(&change)
        ));
    }
    Ok(())
}
