//! Runs from their settings to their end: what `rlhf train` does, for programs of one's own.

use crate::before_after;
use crate::changes::Changes;
use crate::config::Config;
use crate::error::Interrupted;
use crate::interrupts::Interrupts;
use crate::layers::Layers;
use crate::lengths::max_new_tokens;
use crate::networks::{model_path, networks};
use crate::plan::{plan, say};
use crate::prepared::Prepared;
use crate::prior_fit;
use crate::progress::{Display, Quiet};
use crate::record::{Record, check};
use crate::registry::Registry;
use crate::resolve::{Locator, Settled};
use crate::run::{Around, RunContext};
use crate::small_world;
use crate::stored::{check_paths, settled_of, stored_in};
use crate::without_text::say_removed;
use anyhow::{Context, Result};
use rlhf_journal::{Claim, Existing, Journal, checkpoints, last_checkpoint};
use rlhf_train::{Ended, State, restore};
use std::path::{Path, PathBuf};

/// The head of a run's `config.toml`.
const STORED: &str =
    "# What this run used. A path that does not start with / is inside this folder.\n\n";

/// What all runs of a program share.
pub struct Session {
    /// What settings can name.
    pub registry: Registry,
    /// Where models and data are.
    pub locator: Locator,
    /// How runs are interrupted.
    pub interrupts: Interrupts,
    /// Who is shown the steps of runs.
    pub display: Box<dyn Display>,
}

impl Default for Session {
    /// With what is built in, as [`new`](Self::new).
    fn default() -> Self {
        Self::new(Registry::default())
    }
}

/// Where a run starts.
struct Start {
    folder: PathBuf,
    checkpoint: bool,
}

impl Start {
    /// At the model of the settings.
    fn fresh(config: &Config) -> Result<Self> {
        Ok(Self {
            folder: model_path(config)?.into(),
            checkpoint: false,
        })
    }

    /// At a checkpoint of the run.
    fn at(checkpoint: &Path) -> Self {
        Self {
            folder: checkpoint.into(),
            checkpoint: true,
        }
    }
}

/// Sets how many threads there are, once a process.
///
/// # Errors
/// If they cannot be started.
pub fn start_threads(config: &Config) -> Result<()> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(config.train.threads);
    pool.build_global()
        .context("cannot start the threads of [train] threads")
}

impl Session {
    /// With what is registered; nothing is shown, and the hub is asked as no environment variable says
    /// otherwise.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        Self {
            registry,
            locator: Locator::new(|_| None),
            interrupts: Interrupts::new(),
            display: Box::new(Quiet),
        }
    }

    /// Settings over the defaults: those of `file`, if there is one, and what is added.
    ///
    /// # Errors
    /// If the file cannot be read, or is not TOML.
    pub fn layers(&self, file: Option<&Path>) -> Result<Layers> {
        Layers::new(self.registry.catalog(), file)
    }

    /// Writes the small world that is inside the program to `folder`: film reviews, a model that writes
    /// them, and a reward model. Answers the settings of an objective on it, to add to.
    ///
    /// # Errors
    /// If there is no such objective, or the folder cannot be written.
    pub fn small_world(&self, folder: &Path, objective: &str) -> Result<Layers> {
        let catalog = self.registry.catalog();
        let named = catalog.methods.objective(objective);
        let named = named.with_context(|| format!("there is no objective {objective}"))?;
        small_world::write(folder)?;
        small_world::layers(catalog, folder, &named)
    }

    /// The settings that the run in `folder` was started with.
    ///
    /// # Errors
    /// If there is no run, or its settings cannot be read.
    pub fn settled_of(&self, folder: &Path) -> Result<Settled> {
        settled_of(self.registry.catalog(), self.locator, folder)
    }

    /// Opens and checks everything that a run needs.
    ///
    /// # Errors
    /// If something is missing, is malformed, or does not fit the rest.
    pub fn prepare(&self, config: Config) -> Result<Prepared> {
        Prepared::open(config, self.registry.catalog())
    }

    /// Runs what was prepared in a claimed folder; `kept` are its settings as the folder keeps them.
    ///
    /// # Errors
    /// If the run is stopped by an error, or the folder cannot be written.
    pub fn start(
        &self,
        mut prepared: Prepared,
        journal: &mut Journal,
        (kept, repositories): (Config, Vec<serde_json::Value>),
    ) -> Result<(Config, Ended)> {
        let folder = journal.folder().to_path_buf();
        let local = &prepared.config;
        let mut stored = kept.stored_in(&folder)?;
        // What a default came to is a setting of the run.
        stored.sampling.max_new_tokens = Some(max_new_tokens(local, &prepared.vocabulary)?);
        journal.config(&format!("{STORED}{}", toml::to_string(&stored)?))?;
        let record = Record::start(&folder, &stored, local, repositories)?;
        let start = Start::fresh(local)?;
        say_removed(&mut prepared)?;
        prepared.config.locate_fits(&std::path::absolute(&folder)?);
        self.go_and_show(prepared, journal, record, &start)
    }

    /// Claims the folder of a run, to continue it.
    ///
    /// # Errors
    /// If there is no run, or another process has it.
    pub fn claim_again(&self, folder: &Path) -> Result<Claim> {
        stored_in(folder)?;
        Ok(Claim::existing(folder)?)
    }

    /// Continues the run in a claimed folder from its last checkpoint.
    ///
    /// # Errors
    /// If there is no run, a file that it was started with changed and `changes` refuses that, or it is
    /// stopped by an error.
    pub fn resume(&self, claim: Claim, changes: Changes) -> Result<(Config, Ended)> {
        let folder = claim.folder().to_path_buf();
        let Settled {
            kept,
            local: config,
            repositories,
        } = self.settled_of(&folder)?;
        check_paths(&config, &folder, |_| true)?;
        // A run that was stopped before its first checkpoint starts again from the beginning.
        let (step, start) = match checkpoints(&folder)?.pop() {
            Some(last) => (last.step, Start::at(&last.path)),
            None => (0, Start::fresh(&config)?),
        };
        let stored = kept.stored_in(&folder)?;
        let checked = check(&folder, &stored, &config, step, changes)?;
        crate::notes::note(format_args!(
            "run folder {}, from step {step}",
            folder.display()
        ));
        start_threads(&config)?;
        let prepared = self.prepare(config)?;
        say(&plan(&prepared)?);
        let mut journal = claim.resume(step)?;
        let record = match checked {
            Some(checked) => checked.go_on(&folder, step)?,
            None => Record::start(&folder, &stored, &prepared.config, repositories)?,
        };
        self.go_and_show(prepared, &mut journal, record, &start)
    }

    /// A whole run in `folder`, which is the caller's own; one that was interrupted goes on.
    ///
    /// # Errors
    /// If the run is stopped by an error, or was interrupted.
    pub fn fit(&self, config: &Config, folder: &Path) -> Result<()> {
        let (mut journal, record, start) = match last_checkpoint(folder) {
            Ok(last) => {
                // What its run is made of was compared when that was resumed.
                let checked = check(folder, config, config, last.step, Changes::Accept)?;
                let journal = Journal::resume(folder, last.step)?;
                let record = match checked {
                    Some(checked) => checked.go_on(folder, last.step)?,
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
        let prepared = self.prepare(config)?;
        match self.go(prepared, &mut journal, record, &start)? {
            (_, Ended::Done) => Ok(()),
            (_, Ended::Interrupted) => Err(Interrupted.into()),
        }
    }

    /// The same with settings as `--set` takes them, in a folder.
    ///
    /// # Errors
    /// If the settings make no sense, and as [`fit`](Self::fit).
    pub fn fit_with(&self, settings: &[String], folder: &Path) -> Result<()> {
        let mut layers = self.layers(None)?;
        for setting in settings {
            layers.set(setting)?;
        }
        self.fit(&layers.resolve()?, folder)
    }

    /// Runs what has a folder: first what the prior is fitted to, if it is.
    fn go(
        &self,
        prepared: Prepared,
        journal: &mut Journal,
        mut record: Record,
        start: &Start,
    ) -> Result<(Config, Ended)> {
        let Prepared {
            config,
            vocabulary,
            parts,
            ..
        } = prepared;
        let mut run = |config: &Config, folder: &Path| self.fit(config, folder);
        prior_fit::fit(self.registry.catalog(), &config, &mut run)?;
        record.add_fitted(&config, journal.folder())?;
        let mut networks = networks(&start.folder, &config)?;
        let state = match start.checkpoint {
            true => restore(&start.folder, &mut networks)?,
            false => State::default(),
        };
        let context = RunContext {
            config: config.clone(),
            vocabulary,
            record: &record,
            around: Around {
                journal,
                state,
                interrupts: &self.interrupts,
                display: &*self.display,
            },
        };
        let ended = self.registry.run(parts, context, &mut networks)?;
        Ok((config, ended))
    }

    /// The same, and then what the run changed, for a person.
    fn go_and_show(
        &self,
        mut prepared: Prepared,
        journal: &mut Journal,
        record: Record,
        start: &Start,
    ) -> Result<(Config, Ended)> {
        let prompts = before_after::prompts(&mut prepared)?;
        let (config, ended) = self.go(prepared, journal, record, start)?;
        if ended == Ended::Done {
            let folder = journal.folder();
            before_after::show(&config, &prompts, folder).with_context(|| {
                let model = folder.join("final");
                let model = model.display();
                format!(
                    "all steps are done and {model} is whole, but it cannot be shown beside the start"
                )
            })?;
        }
        Ok((config, ended))
    }
}
