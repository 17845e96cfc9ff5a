//! Runs training from settings to the end: what `rlhf train` does, as a library.

use crate::before_after;
use crate::changes::Changes;
use crate::config::Config;
use crate::error::Interrupted;
use crate::interrupts::Interrupts;
use crate::layers::Layers;
use crate::lengths::max_new_tokens;
use crate::networks::{model_path, networks};
use crate::notes::{Remarks, note};
use crate::plan::{note_plan, plan};
use crate::prepared::Prepared;
use crate::prior_fit;
use crate::progress::{Display, Quiet};
use crate::record::{Record, check};
use crate::registry::Registry;
use crate::resolve::{Located, Locator};
use crate::run::{LoopContext, RunContext};
use crate::small_world;
use crate::stored::{check_paths, stored_config, stored_in};
use crate::without_text::note_removed_probability;
use anyhow::{Context, Result};
use rlhf_journal::{Claim, Existing, Journal, checkpoints, last_checkpoint};
use rlhf_train::{Ended, State, restore};
use std::path::{Path, PathBuf};

/// The first lines of a run's `config.toml`.
const CONFIG_HEADER: &str =
    "# What this run used. A path that does not start with / is inside this folder.\n\n";

/// The state that all runs of a program share.
pub struct Session {
    /// The methods, priors and rewards that settings can name.
    pub registry: Registry,
    /// Locates models and data.
    pub locator: Locator,
    /// Interrupts the running loop.
    pub interrupts: Interrupts,
    /// Displays the steps of runs.
    pub display: Box<dyn Display>,
}

impl Default for Session {
    /// A session with the built-in methods, as [`new`](Self::new).
    fn default() -> Self {
        Self::new(Registry::default())
    }
}

/// The weights that a run starts from.
struct Start {
    folder: PathBuf,
    checkpoint: bool,
}

impl Start {
    /// From the model of the settings.
    fn fresh(config: &Config) -> Result<Self> {
        Ok(Self {
            folder: model_path(config)?.into(),
            checkpoint: false,
        })
    }

    /// From a checkpoint of the run.
    fn at(checkpoint: &Path) -> Self {
        Self {
            folder: checkpoint.into(),
            checkpoint: true,
        }
    }
}

/// Starts the thread pool with `train.threads` threads; once per process.
///
/// # Errors
/// If the threads cannot be started.
pub fn start_threads(config: &Config) -> Result<()> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(config.train.threads);
    pool.build_global()
        .context("cannot start the threads of [train] threads")
}

impl Session {
    /// A session that displays nothing and ignores environment variables of the hub.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        Self {
            registry,
            locator: Locator::new(|_| None),
            interrupts: Interrupts::new(),
            display: Box::new(Quiet),
        }
    }

    /// Layers of settings over the defaults, beginning with those of `file` if there is one.
    ///
    /// # Errors
    /// If the file cannot be read, or is not TOML.
    pub fn layers(&self, file: Option<&Path>) -> Result<Layers> {
        Layers::new(self.registry.catalog(), file)
    }

    /// Writes the built-in demo to `folder`: film reviews, a model that writes them, and a reward model.
    /// Returns the settings of an objective on it, to add to.
    ///
    /// # Errors
    /// If the objective is unknown, or the folder cannot be written.
    pub fn small_world(&self, folder: &Path, objective: &str) -> Result<Layers> {
        let catalog = self.registry.catalog();
        let named = catalog.methods.objective(objective);
        let named = named.with_context(|| format!("there is no objective {objective}"))?;
        small_world::write(folder)?;
        small_world::layers(catalog, folder, &named)
    }

    /// The settings of the run in `folder`, with its files located.
    ///
    /// # Errors
    /// If there is no run, or its settings cannot be read.
    pub fn stored_config(&self, folder: &Path) -> Result<Located> {
        stored_config(self.registry.catalog(), self.locator, folder)
    }

    /// Opens and validates everything that a run needs, and notes remarks about its data.
    ///
    /// # Errors
    /// If a file is missing or malformed, or does not match the others.
    pub fn prepare(&self, config: Config) -> Result<Prepared> {
        self.prepare_with(config, &mut |remark| note(remark))
    }

    /// Prepares a run as [`prepare`](Self::prepare) does, and passes remarks about its data to `remarks`.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare).
    pub fn prepare_with(
        &self,
        config: Config,
        remarks: &mut dyn FnMut(String),
    ) -> Result<Prepared> {
        Prepared::open(config, self.registry.catalog(), remarks)
    }

    /// Runs a prepared run in a claimed folder. `recorded` are its settings with hub commits instead of
    /// local paths.
    ///
    /// # Errors
    /// If training fails, or the folder cannot be written.
    pub fn start(
        &self,
        mut prepared: Prepared,
        journal: &mut Journal,
        (recorded, repositories): (Config, Vec<serde_json::Value>),
    ) -> Result<(Config, Ended)> {
        let folder = journal.folder().to_path_buf();
        let local = &prepared.config;
        let mut stored = recorded.stored_in(&folder)?;
        // The default depends on the model, so its value is recorded.
        stored.sampling.max_new_tokens = Some(max_new_tokens(local, &prepared.vocabulary)?);
        journal.config(&format!("{CONFIG_HEADER}{}", toml::to_string(&stored)?))?;
        let record = Record::start(&folder, &stored, local, repositories)?;
        let start = Start::fresh(local)?;
        note_removed_probability(&mut prepared)?;
        prepared.config.locate_fits(&std::path::absolute(&folder)?);
        self.run_and_compare(prepared, journal, record, &start)
    }

    /// Claims the folder of a run, to resume it.
    ///
    /// # Errors
    /// If there is no run, or another process holds it.
    pub fn claim_existing(&self, folder: &Path) -> Result<Claim> {
        stored_in(folder)?;
        Ok(Claim::existing(folder)?)
    }

    /// Resumes the run in a claimed folder from its last checkpoint.
    ///
    /// # Errors
    /// If there is no run, one of its files changed and `changes` refuses that, or training fails.
    pub fn resume(&self, claim: Claim, changes: Changes) -> Result<(Config, Ended)> {
        let folder = claim.folder().to_path_buf();
        let Located {
            recorded,
            local: config,
            repositories,
        } = self.stored_config(&folder)?;
        check_paths(&config, &folder, |_| true)?;
        // A run that was stopped before its first checkpoint starts over.
        let (step, start) = match checkpoints(&folder)?.pop() {
            Some(last) => (last.step, Start::at(&last.path)),
            None => (0, Start::fresh(&config)?),
        };
        let stored = recorded.stored_in(&folder)?;
        let checked = check(&folder, &stored, &config, step, changes)?;
        note(format_args!(
            "run folder {}, from step {step}",
            folder.display()
        ));
        start_threads(&config)?;
        let prepared = self.prepare(config)?;
        note_plan(&plan(&prepared)?);
        let mut journal = claim.resume(step)?;
        let record = match checked {
            Some(checked) => checked.resume(&folder, step)?,
            None => Record::start(&folder, &stored, &prepared.config, repositories)?,
        };
        self.run_and_compare(prepared, &mut journal, record, &start)
    }

    /// Trains to the end in `folder`, which no other process uses. Resumes a run that was interrupted.
    ///
    /// # Errors
    /// If training fails or is interrupted.
    pub fn fit(&self, config: &Config, folder: &Path) -> Result<()> {
        self.fit_with_remarks(config, folder, &mut |remark| note(remark))
    }

    fn fit_with_remarks(&self, config: &Config, folder: &Path, remarks: Remarks<'_>) -> Result<()> {
        let (mut journal, record, start) = match last_checkpoint(folder) {
            Ok(last) => {
                // The files were compared when the enclosing run was resumed.
                let checked = check(folder, config, config, last.step, Changes::Accept)?;
                let journal = Journal::resume(folder, last.step)?;
                let record = match checked {
                    Some(checked) => checked.resume(folder, last.step)?,
                    None => Record::start(folder, config, config, Vec::new())?,
                };
                (journal, record, Start::at(&last.path))
            }
            Err(_) => {
                let journal = Journal::create(folder, Existing::Overwrite)?;
                journal.config(&toml::to_string(config)?)?;
                let record = Record::start(folder, config, config, Vec::new())?;
                (journal, record, Start::fresh(config)?)
            }
        };
        let mut config = config.clone();
        config.locate_fits(&std::path::absolute(folder)?);
        let prepared = self.prepare_with(config, remarks)?;
        match self.run(prepared, &mut journal, record, &start)? {
            (_, Ended::Done) => Ok(()),
            (_, Ended::Interrupted) => Err(Interrupted.into()),
        }
    }

    /// Trains with settings in the form that `--set` takes, in `folder`.
    ///
    /// # Errors
    /// If the settings are invalid, and as [`fit`](Self::fit).
    pub fn fit_with(&self, settings: &[String], folder: &Path) -> Result<()> {
        let mut layers = self.layers(None)?;
        for setting in settings {
            layers.set(setting)?;
        }
        self.fit(&layers.resolve()?, folder)
    }

    /// Fits the prior if it needs to be, then trains.
    fn run(
        &self,
        prepared: Prepared,
        journal: &mut Journal,
        mut record: Record,
        start: &Start,
    ) -> Result<(Config, Ended)> {
        let Prepared {
            config,
            vocabulary,
            splits,
            ..
        } = prepared;
        // Remarks about the demonstrations were noted when the run was prepared.
        let mut run =
            |config: &Config, folder: &Path| self.fit_with_remarks(config, folder, &mut |_| {});
        prior_fit::fit(self.registry.catalog(), &config, &mut run)?;
        record.add_fitted(&config, journal.folder())?;
        let mut networks = networks(&start.folder, &config)?;
        let state = if start.checkpoint {
            restore(&start.folder, &mut networks)?
        } else {
            State::default()
        };
        let context = RunContext {
            config: config.clone(),
            vocabulary,
            record: &record,
            loop_context: LoopContext {
                journal,
                state,
                interrupts: &self.interrupts,
                display: &*self.display,
            },
        };
        let ended = self.registry.run(splits, context, &mut networks)?;
        Ok((config, ended))
    }

    /// Trains, then notes sample responses from before and after.
    fn run_and_compare(
        &self,
        mut prepared: Prepared,
        journal: &mut Journal,
        record: Record,
        start: &Start,
    ) -> Result<(Config, Ended)> {
        let prompts = before_after::prompts(&mut prepared)?;
        let (config, ended) = self.run(prepared, journal, record, start)?;
        if ended == Ended::Done {
            let folder = journal.folder();
            before_after::show(&config, &prompts, folder).with_context(|| {
                let model = folder.join("final");
                let model = model.display();
                format!(
                    "training is done and {model} is complete, but sampling from it and the starting model \
                     failed"
                )
            })?;
        }
        Ok((config, ended))
    }
}
