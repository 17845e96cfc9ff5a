//! Everything that a run needs, opened and checked once: its plan shows it, the run consumes it.

use crate::catalog::Catalog;
use crate::config::Config;
use crate::dataset::{Parts, open_data, some_prompts};
use crate::networks::model_path;
use crate::prior::{check_folders, prior};
use crate::reward::check_reward;
use crate::vocabulary::Vocabulary;
use crate::words::nothing_left;
use crate::{prior_fit, steps};
use anyhow::{Result, ensure};
use rlhf_data::StreamingDataset;
use rlhf_objective::Prompt;
use rlhf_train::{LearnsFrom, PriorUse};
use std::sync::Arc;

/// A run that can begin: its settings, its vocabulary and its data, checked against each other. Weights
/// are not loaded yet.
pub struct Prepared {
    pub(crate) config: Config,
    pub(crate) vocabulary: Vocabulary,
    pub(crate) parts: Parts<StreamingDataset>,
    /// The fits that come before it, in words.
    pub(crate) fits: Vec<String>,
}

impl Prepared {
    /// Opens what the settings name, all of it on this machine.
    ///
    /// # Errors
    /// If something is missing, is malformed, or does not fit the rest.
    pub fn open(config: Config, catalog: &Catalog) -> Result<Self> {
        let vocabulary = Vocabulary::load(model_path(&config)?)?;
        if config.method.facts().prior != PriorUse::Nothing {
            check_folders(&prior(&config)?, vocabulary.size)?;
        }
        let fits = prior_fit::check(catalog, &config, &vocabulary)?;
        if config.reward.is_some() {
            check_reward(&config, &vocabulary)?;
        }
        let parts = open_data(&config, &vocabulary, &catalog.methods)?;
        let prepared = Self {
            config,
            vocabulary,
            parts,
            fits,
        };
        prepared.check_data()?;
        Ok(prepared)
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What items are called.
    pub(crate) fn items(&self) -> &'static str {
        match self.config.method.facts().learns_from {
            LearnsFrom::Samples => "prompts",
            LearnsFrom::Pairs => "pairs",
            LearnsFrom::UnpairedPreferences => "answers",
            LearnsFrom::Demonstrations => "demonstrations",
        }
    }

    /// How many there are to train on, and held out.
    pub(crate) fn counts(&self) -> [usize; 2] {
        let parts = [&self.parts.train, &self.parts.held_out];
        parts.map(|corpus| steps::items(&self.config, corpus))
    }

    fn check_data(&self) -> Result<()> {
        let [train, held_out] = self.counts();
        let path = self.config.data.train.as_deref();
        let path = path.unwrap_or("data".as_ref()).display();
        ensure!(
            train > 0,
            "{path} leaves no {} to train on: {}",
            self.items(),
            nothing_left(&self.parts.notes, held_out)
        );
        let unpaired = LearnsFrom::UnpairedPreferences;
        ensure!(
            self.config.method.facts().learns_from != unpaired || train > 1,
            "the data file leaves fewer than 2 answers to train on: {} compares each with another's \
             prompt",
            self.config.objective
        );
        Ok(())
    }

    /// The prompts that no step of the run sees, at most as many as `[eval] prompts` says.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn held_out_prompts(&mut self) -> Result<Vec<Arc<Prompt>>> {
        some_prompts(&self.config, &mut self.parts.held_out)
    }
}
