//! The interface of kinds of priors: their settings under `[prior]`, and how a prior is made from them.

use rlhf_objective::{Error, Network, Prior, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::path::{Path, PathBuf};

/// A loaded prior, and for each of its checkpoint folders the checksums of the parameters.
pub type Loaded = (Box<dyn Prior>, Vec<Vec<String>>);

/// What a setting that is a path refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathTo {
    /// A checkpoint.
    Model,
    /// A file or folder of rows.
    Data,
}

/// A kind of prior: its name, its settings and its construction.
pub trait PriorKind: 'static {
    /// The settings in `[prior]`, without `kind` and [`PARTS`](Self::PARTS).
    type Settings: Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static;

    /// The value of `[prior] kind`.
    const NAME: &'static str;
    /// Its description, one line of the help.
    const ABOUT: &'static str;
    /// Whether log p₀ is 0 for every response, so that there is no reference to compare with.
    const CONSTANT: bool = false;
    /// The settings that are paths.
    const PATHS: &'static [(&'static str, PathTo)] = &[];
    /// The settings that are priors themselves, each with its own `kind`.
    const PARTS: &'static [&'static str] = &[];

    /// Fills in the defaults of settings that were not given.
    fn complete(_settings: &mut Self::Settings) {}

    /// The supervised fit of a copy of the model before the run, if this prior needs one.
    fn fit(_settings: &Self::Settings) -> Option<Fit> {
        None
    }

    /// Checks the settings and describes the prior, without loading it.
    ///
    /// # Errors
    /// If the settings are invalid; the message names the key.
    fn plan(settings: &Self::Settings, context: &dyn PriorContext) -> Result<PriorPlan>;
}

/// A collection of kinds of priors, such as a registry.
pub trait PriorKinds {
    /// Adds a kind.
    fn add<K: PriorKind>(&mut self);
}

/// A supervised fit of a copy of the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// The demonstrations.
    pub data: PathBuf,
    /// The settings of `[prior.fit]`.
    pub settings: FitSettings,
}

/// `[prior.fit]`: supervised fine-tuning of a copy of the model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FitSettings {
    /// The peak learning rate.
    pub learning_rate: f64,
    /// How many epochs over the demonstrations.
    pub epochs: usize,
    /// The batch size of an optimizer step.
    pub batch_size: rlhf_objective::BatchSize,
}

impl Default for FitSettings {
    /// The defaults of supervised fine-tuning.
    fn default() -> Self {
        Self {
            learning_rate: 2e-5,
            epochs: 3,
            batch_size: rlhf_objective::BatchSize::default(),
        }
    }
}

/// The run for which a prior is planned.
pub trait PriorContext {
    /// The checkpoint that the policy starts from.
    ///
    /// # Errors
    /// If the settings name none.
    fn model(&self) -> Result<PathBuf>;

    /// The folder of this prior's fitted checkpoint, which may not exist yet.
    fn fitted(&self) -> Option<PathBuf>;

    /// The plan of one of [`PriorKind::PARTS`]; `None` if the settings do not have it.
    ///
    /// # Errors
    /// If its settings are invalid.
    fn part(&self, key: &str) -> Result<Option<PriorPlan>>;
}

/// Loads the frozen networks of priors.
pub trait FrozenNetworks {
    /// The frozen network of a folder, at the policy's temperature.
    ///
    /// # Errors
    /// If it cannot be loaded.
    fn network(&self, folder: &Path) -> Result<Box<dyn Network>>;

    /// V of the checkpoint in a folder.
    ///
    /// # Errors
    /// If its `config.json` cannot be read.
    fn vocab(&self, folder: &Path) -> Result<usize>;
}

/// A prior whose settings are checked and which is not loaded yet.
pub struct PriorPlan {
    /// Its symbol in formulas; `None` for a constant prior.
    pub symbol: Option<&'static str>,
    /// Its description, for users.
    pub description: String,
    /// Whether it is a distribution, so that an adaptive β can have a target KL.
    pub normalized: bool,
    /// The checkpoint folders it is loaded from.
    pub folders: Vec<PathBuf>,
    /// Loads it.
    pub load: Load,
}

/// Loads a prior.
pub type Load = Box<dyn FnOnce(&dyn FrozenNetworks) -> Result<Loaded>>;

impl PriorPlan {
    /// A distribution without parameters over the vocabulary of `model`, written `symbol` in formulas.
    #[must_use]
    pub fn over_vocabulary<P: Prior + 'static>(
        symbol: &'static str,
        model: PathBuf,
        make: impl FnOnce(usize) -> P + 'static,
    ) -> Self {
        Self {
            symbol: Some(symbol),
            description: symbol.into(),
            normalized: true,
            folders: Vec::new(),
            load: Box::new(move |networks| Ok((Box::new(make(networks.vocab(&model)?)), vec![]))),
        }
    }

    /// Loads the prior, and the checksums of each of its folders.
    ///
    /// # Errors
    /// If a network cannot be loaded.
    pub fn load(self, networks: &dyn FrozenNetworks) -> Result<Loaded> {
        (self.load)(networks)
    }
}

/// Returns the error of invalid settings.
pub(crate) fn invalid<T>(why: impl Into<String>) -> Result<T> {
    Err(Error::Unsupported(why.into()))
}
