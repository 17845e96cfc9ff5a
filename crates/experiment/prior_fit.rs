//! Fits priors before a run: supervised fine-tuning of a copy of the model on demonstrations.

use crate::catalog::Catalog;
use crate::config::Config;
use crate::dataset::open_data_with;
use crate::method::Listed;
use crate::notes::{Remarks, note};
use crate::steps;
use crate::vocabulary::Vocabulary;
use crate::words::nothing_left;
use anyhow::{Context, Result};
use rlhf_objective::Dataset;
use rlhf_prior::Fit;
use rlhf_sft::SftSpec;
use rlhf_train::PriorUse;
use std::path::{Path, PathBuf};

/// The folder of each fit; empty before there is a run folder.
pub(crate) fn fit_folders(config: &Config) -> Vec<PathBuf> {
    let Some(base) = &config.prior_fits else {
        return Vec::new();
    };
    let fits = config.prior.fits().into_iter();
    fits.map(|(folder, _)| base.join(folder)).collect()
}

/// The settings of the supervised run that fits a copy of the model. It uses the temperature of the main
/// run, because the prior is evaluated at that temperature.
fn settings(catalog: &Catalog, fit: &Fit, config: &Config) -> Result<Config> {
    let supervised = Listed::<SftSpec>::offline();
    let mut settings = Config::defaults(&supervised.objective(), &catalog.priors)?;
    settings.model.path.clone_from(&config.model.path);
    settings.model.backend = config.model.backend;
    settings.model.dtype = config.model.dtype;
    settings.data = config.data.clone();
    settings.data.train = Some(fit.data.clone());
    let fit = fit.settings;
    settings.data.held_out = None;
    settings.train.batch_size = Some(fit.batch_size);
    settings.sampling.temperature = config.sampling.temperature;
    settings.sampling.tokens.clone_from(&config.sampling.tokens);
    settings.optim.learning_rate = fit.learning_rate;
    settings.train.seed = config.train.seed;
    settings.train.epochs = Some(fit.epochs);
    settings.train.micro_batch_tokens = config.train.micro_batch_tokens;
    settings.train.activation_checkpointing = config.train.activation_checkpointing;
    settings.train.threads = config.train.threads;
    settings.train.checkpoints = 1;
    settings.check(catalog).context("[prior.fit]")?;
    Ok(settings)
}

/// Opens the demonstrations of each fit and describes its steps, without training.
pub(crate) fn check(
    catalog: &Catalog,
    config: &Config,
    vocabulary: &Vocabulary,
    remarks: Remarks<'_>,
) -> Result<Vec<String>> {
    if config.method.facts().prior == PriorUse::Nothing {
        return Ok(Vec::new());
    }
    let mut fits = Vec::new();
    for (_, fit) in config.prior.fits() {
        let settings = settings(catalog, &fit, config)?;
        let found = open_data_with(&settings, vocabulary, &catalog.methods, remarks)?;
        anyhow::ensure!(
            found.train.count() > 0,
            "prior.data: no demonstrations left to fit the prior to: {}",
            nothing_left(&found.notes, found.held_out.count())
        );
        let steps = steps::describe(&settings, &found.train)?;
        let data = settings.data.train.unwrap_or_default();
        fits.push(format!("of the prior to {}, {steps}", data.display()));
    }
    Ok(fits)
}

/// Runs the fits that are not done yet; an interrupted fit is resumed.
pub(crate) fn fit(
    catalog: &Catalog,
    config: &Config,
    run: &mut dyn FnMut(&Config, &Path) -> Result<()>,
) -> Result<()> {
    if config.method.facts().prior == PriorUse::Nothing {
        return Ok(());
    }
    let fits = config.prior.fits().into_iter();
    for ((_, fit), folder) in fits.zip(fit_folders(config)) {
        if folder.join("final").exists() {
            continue;
        }
        note(format_args!(
            "fitting the prior to {} first, in {}",
            fit.data.display(),
            folder.display()
        ));
        run(&settings(catalog, &fit, config)?, &folder)?;
    }
    Ok(())
}
