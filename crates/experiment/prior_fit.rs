//! Priors that are fitted before a run: a copy of the model learns the demonstrations.

use crate::config::{Config, PriorSection};
use crate::dataset::open_data;
use crate::method::{Listed, Methods};
use crate::notes::note;
use crate::steps;
use crate::vocabulary::Vocabulary;
use crate::words::nothing_left;
use anyhow::{Context, Result};
use rlhf_objective::Items;
use rlhf_sft::SftSpec;
use rlhf_train::PriorUse;
use std::path::Path;

impl PriorSection {
    /// Notes where the fits of the run in `folder` are, in `folder/prior`.
    pub(crate) fn locate(&mut self, folder: &Path) {
        self.place(&folder.join("prior"));
    }

    fn place(&mut self, folder: &Path) {
        self.fitted = self.data.is_some().then(|| folder.join("final"));
        for (part, name) in [(&mut self.first, "first"), (&mut self.second, "second")] {
            if let Some(part) = part {
                part.place(&folder.join(name));
            }
        }
    }

    /// Every part that is fitted to data.
    pub(crate) fn fits(&self) -> Vec<&Self> {
        let parts = [&self.first, &self.second].into_iter().flatten();
        let inner = parts.flat_map(|part| part.fits());
        self.data.iter().map(|_| self).chain(inner).collect()
    }
}

/// The supervised run that fits a copy of the model: at the temperature of the run, because the
/// prior is read at that.
fn settings(methods: &Methods, section: &PriorSection, config: &Config) -> Result<Config> {
    let fit = section.fit.unwrap_or_default();
    let supervised = Listed::<SftSpec>::offline();
    let mut settings = Config::defaults(&supervised.objective())?;
    settings.model.path.clone_from(&config.model.path);
    settings.model.backend = config.model.backend;
    settings.model.dtype = config.model.dtype;
    settings.data = config.data.clone();
    settings.data.train.clone_from(&section.data);
    settings.data.held_out = None;
    settings.method = supervised.with(rlhf_sft::Config {
        per_step: fit.per_step,
    });
    settings.sampling.temperature = config.sampling.temperature;
    settings.sampling.tokens.clone_from(&config.sampling.tokens);
    settings.optim.learning_rate = fit.learning_rate;
    settings.train.seed = config.train.seed;
    settings.train.epochs = Some(fit.epochs);
    settings.train.tokens_per_batch = config.train.tokens_per_batch;
    settings.train.recompute = config.train.recompute;
    settings.train.threads = config.train.threads;
    settings.train.checkpoints = 1;
    settings.check(methods).context("[prior.fit]")?;
    Ok(settings)
}

/// The steps of each fit: all of its demonstrations are read, and nothing fitted.
pub(crate) fn check(
    methods: &Methods,
    config: &Config,
    vocabulary: &Vocabulary,
) -> Result<Vec<String>> {
    if config.method.facts().prior == PriorUse::Nothing {
        return Ok(Vec::new());
    }
    let mut fits = Vec::new();
    for section in config.prior.fits() {
        let settings = settings(methods, section, config)?;
        let found = open_data(&settings, vocabulary, methods)?;
        anyhow::ensure!(
            found.train.count() > 0,
            "prior.data leaves no demonstrations to fit to: {}",
            nothing_left(&found.notes, found.held_out.count())
        );
        let steps = steps::describe(&settings, &found.train)?;
        let data = settings.data.train.unwrap_or_default();
        fits.push(format!("of the prior to {}, {steps}", data.display()));
    }
    Ok(fits)
}

/// Fits what is not fitted yet; a fit that was interrupted goes on where it was.
pub(crate) fn fit(
    methods: &Methods,
    config: &Config,
    run: &mut dyn FnMut(&Config, &Path) -> Result<()>,
) -> Result<()> {
    if config.method.facts().prior == PriorUse::Nothing {
        return Ok(());
    }
    for section in config.prior.fits() {
        let folder = section.fitted.as_deref().and_then(Path::parent);
        let folder = folder.context("a prior is fitted inside a run folder")?;
        if folder.join("final").exists() {
            continue;
        }
        let data = section.data.as_deref().unwrap_or(Path::new(""));
        note(format_args!(
            "the prior is fitted to {} first, in {}",
            data.display(),
            folder.display()
        ));
        run(&settings(methods, section, config)?, folder)?;
    }
    Ok(())
}
