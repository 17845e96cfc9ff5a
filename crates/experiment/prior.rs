//! The prior of a run: what is known of it before it is loaded, and its networks.

use crate::config::{BetaSetting, Config, PriorSection};
use crate::networks::{frozen, model_path, network};
use anyhow::{Result, ensure};
use rlhf_lm::{OutputHeads, inspect};
use rlhf_objective::{Error, Network, Target};
use rlhf_prior::{FrozenNetworks, Loaded, PriorContext, PriorPlan};
use rlhf_train::PriorUse;
use std::path::{Path, PathBuf};

/// The prior of the settings, not loaded yet.
pub(crate) fn prior(config: &Config) -> Result<PriorPlan> {
    let context = Context {
        config,
        section: &config.prior,
        fits: config.prior_fits.clone(),
    };
    Ok(config.prior.plan(&context)?)
}

/// The prior of the settings, with the checksums of its networks.
pub(crate) fn load(plan: PriorPlan, config: &Config) -> Result<Loaded> {
    Ok(plan.load(&Networks(config))?)
}

/// A section of `[prior]`, and where its fit is.
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

/// Networks that do not move, loaded as the settings say.
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

/// Refuses a β that would hold what its prior does not give.
///
/// # Errors
/// If it would; the message says which target to give.
pub fn check_beta(config: &Config) -> Result<()> {
    let BetaSetting::Adaptive(of) = config.beta else {
        return Ok(());
    };
    let normalized = prior(config)?.normalized;
    match of.target() {
        Target::Kl(target) => ensure!(
            normalized,
            "beta.target_kl = {target}: the counting prior is not a distribution, and the KL to it is \
             minus the entropy of the policy; give beta.target_entropy, the entropy to hold in nats \
             a sequence, in its place"
        ),
        Target::Entropy(target) => ensure!(
            !normalized,
            "beta.target_entropy = {target}: this prior is a distribution, so beta prices the KL to \
             it; give beta.target_kl, the KL to hold in nats a sequence, in its place"
        ),
    }
    Ok(())
}

/// Whether the folders of a prior are there and have the model's vocabulary, from their headers.
pub(crate) fn check_folders(plan: &PriorPlan, vocab: usize) -> Result<()> {
    for folder in &plan.folders {
        let its = inspect(folder)?.ids_with_text;
        ensure!(
            vocab == its,
            "the prior {} has {its} vocabulary entries and the model {vocab}: they must share a \
             tokenizer",
            folder.display()
        );
    }
    Ok(())
}

/// The folders of all networks that do not move: the prior's, if the objective has one, and the reward's.
pub(crate) fn frozen_folders(config: &Config) -> Result<Vec<PathBuf>> {
    let mut folders = match config.method.facts().prior {
        PriorUse::Nothing => Vec::new(),
        PriorUse::Penalty | PriorUse::Scale => prior(config)?.folders,
    };
    let rewards = config.reward.iter().flat_map(|rule| rule.models());
    folders.extend(rewards.map(Path::to_path_buf));
    Ok(folders)
}
