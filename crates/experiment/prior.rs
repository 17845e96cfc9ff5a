//! Plans and loads the prior of a run.

use crate::config::{BetaSetting, Config, PriorSection};
use crate::networks::{frozen, model_path, network};
use anyhow::{Result, ensure};
use rlhf_lm::{OutputHeads, inspect};
use rlhf_objective::{Error, Network, Target};
use rlhf_prior::{FrozenNetworks, Loaded, PriorContext, PriorPlan};
use rlhf_train::PriorUse;
use std::path::{Path, PathBuf};

/// The prior of the settings, before its networks are loaded.
pub(crate) fn prior(config: &Config) -> Result<PriorPlan> {
    let context = Context {
        config,
        section: &config.prior,
        fits: config.prior_fits.clone(),
    };
    Ok(config.prior.plan(&context)?)
}

/// Loads a planned prior; returns it with the checksums of its networks.
pub(crate) fn load(plan: PriorPlan, config: &Config) -> Result<Loaded> {
    Ok(plan.load(&Networks(config))?)
}

/// The context in which a `[prior]` section is planned: the run's settings and the folder of its fit.
struct Context<'a> {
    config: &'a Config,
    section: &'a PriorSection,
    fits: Option<PathBuf>,
}

impl PriorContext for Context<'_> {
    fn model(&self) -> rlhf_objective::Result<PathBuf> {
        match model_path(self.config) {
            Ok(path) => Ok(path.into()),
            Err(error) => Err(Error::Unsupported(error.to_string())),
        }
    }

    fn fitted(&self) -> Option<PathBuf> {
        self.fits.as_ref().map(|folder| folder.join("final"))
    }

    fn part(&self, key: &str) -> rlhf_objective::Result<Option<PriorPlan>> {
        let Some(section) = self.section.part(key) else {
            return Ok(None);
        };
        let inner = Self {
            config: self.config,
            section,
            fits: self.fits.as_ref().map(|folder| folder.join(key)),
        };
        section.plan(&inner).map(Some)
    }
}

/// Loads frozen networks as the settings say.
struct Networks<'a>(&'a Config);

impl FrozenNetworks for Networks<'_> {
    fn network(&self, folder: &Path) -> rlhf_objective::Result<Box<dyn Network>> {
        let storage = frozen(self.0.model.frozen_dtype);
        match network(folder, self.0, storage, OutputHeads::Language) {
            Ok(network) => Ok(network),
            Err(error) => Err(Error::Other(error.into())),
        }
    }

    fn vocab(&self, folder: &Path) -> rlhf_objective::Result<usize> {
        Ok(inspect(folder).map_err(Error::other)?.ids_with_text)
    }
}

/// Checks that the target of an adaptive β fits the prior: KL for a distribution, entropy for the counting
/// prior.
///
/// # Errors
/// If it does not; the message says which target to give.
pub fn check_beta(config: &Config) -> Result<()> {
    let BetaSetting::Adaptive(setting) = config.beta else {
        return Ok(());
    };
    let normalized = prior(config)?.normalized;
    match setting.target() {
        Target::Kl(target) => ensure!(
            normalized,
            "beta.target_kl = {target}: the counting prior is not a distribution, and the KL to it is \
             minus the entropy of the policy: give beta.target_entropy instead, the entropy to hold in nats \
             per sequence"
        ),
        Target::Entropy(target) => ensure!(
            !normalized,
            "beta.target_entropy = {target}: this prior is a distribution, so beta weighs the KL to it: \
             give beta.target_kl instead, the KL to hold in nats per sequence"
        ),
    }
    Ok(())
}

/// Checks that the folders of a prior exist and have the model's vocabulary size, from their headers.
pub(crate) fn check_folders(plan: &PriorPlan, vocab: usize) -> Result<()> {
    for folder in &plan.folders {
        let prior_vocab = inspect(folder)?.ids_with_text;
        ensure!(
            vocab == prior_vocab,
            "the prior {} has {prior_vocab} vocabulary entries and the model {vocab}: they must share a \
             tokenizer",
            folder.display()
        );
    }
    Ok(())
}

/// The folders of all frozen networks: those of the prior, if the objective uses one, and of the reward.
pub(crate) fn frozen_folders(config: &Config) -> Result<Vec<PathBuf>> {
    let mut folders = match config.method.facts().prior {
        PriorUse::Nothing => Vec::new(),
        PriorUse::Penalty | PriorUse::Scale => prior(config)?.folders,
    };
    let rewards = config.reward.iter().flat_map(|rule| rule.models());
    folders.extend(rewards.map(Path::to_path_buf));
    Ok(folders)
}
