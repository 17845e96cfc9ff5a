//! Opens and validates everything that a run needs, once. The plan describes it; the run consumes it.

use crate::catalog::Catalog;
use crate::config::Config;
use crate::dataset::{Splits, eval_prompts, open_data_with};
use crate::networks::model_path;
use crate::notes::Remarks;
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

/// A run that is ready to start: its settings, tokenizer and data, checked against each other. Weights are
/// not loaded yet.
pub struct Prepared {
    pub(crate) config: Config,
    pub(crate) vocabulary: Vocabulary,
    pub(crate) splits: Splits<StreamingDataset>,
    /// Descriptions of the prior fits that precede the run.
    pub(crate) fits: Vec<String>,
}

impl Prepared {
    /// Opens what the settings name, and passes remarks about the data to `remarks`. All paths must be
    /// local.
    ///
    /// # Errors
    /// If a file is missing or malformed, or does not match the others.
    pub(crate) fn open(config: Config, catalog: &Catalog, remarks: Remarks<'_>) -> Result<Self> {
        let vocabulary = Vocabulary::load(model_path(&config)?)?;
        if config.method.facts().prior != PriorUse::Nothing {
            check_folders(&prior(&config)?, vocabulary.size)?;
        }
        let fits = prior_fit::check(catalog, &config, &vocabulary, remarks)?;
        if config.reward.is_some() {
            check_reward(&config, &vocabulary)?;
        }
        let splits = open_data_with(&config, &vocabulary, &catalog.methods, remarks)?;
        let prepared = Self {
            config,
            vocabulary,
            splits,
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

    /// The plural noun for items of the data.
    pub(crate) fn items(&self) -> &'static str {
        match self.config.method.facts().learns_from {
            LearnsFrom::Samples => "prompts",
            LearnsFrom::Pairs => "pairs",
            LearnsFrom::UnpairedPreferences => "responses",
            LearnsFrom::Demonstrations => "demonstrations",
        }
    }

    /// The number of items to train on, and held out.
    pub(crate) fn counts(&self) -> [usize; 2] {
        let both = [&self.splits.train, &self.splits.held_out];
        both.map(|dataset| steps::items(&self.config, dataset))
    }

    fn check_data(&self) -> Result<()> {
        let [train, held_out] = self.counts();
        let path = self.config.data.train.as_deref();
        let path = path.unwrap_or("data".as_ref()).display();
        ensure!(
            train > 0,
            "{path}: no {} left to train on: {}",
            self.items(),
            nothing_left(&self.splits.notes, held_out)
        );
        let unpaired = LearnsFrom::UnpairedPreferences;
        ensure!(
            self.config.method.facts().learns_from != unpaired || train > 1,
            "{path}: fewer than 2 responses left to train on: {} pairs each with the prompt of another",
            self.config.objective
        );
        Ok(())
    }

    /// The held-out prompts, at most `eval.prompts`.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn held_out_prompts(&mut self) -> Result<Vec<Arc<Prompt>>> {
        eval_prompts(&self.config, &mut self.splits.held_out)
    }
}
