//! Kinds of priors: what `[prior] kind` names, and how settings become one.

use rlhf_objective::{Error, Network, Prior, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::path::{Path, PathBuf};

/// p₀, and for each folder that it reads the checksums of what is in it.
pub type Loaded = (Box<dyn Prior>, Vec<Vec<String>>);

/// What a path of the settings leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathTo {
    /// A checkpoint.
    Model,
    /// A file or folder of rows.
    Data,
}

/// A kind of prior as its file declares it.
pub trait PriorKind: 'static {
    /// `[prior]`, without `kind` and the parts.
    type Settings: Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static;

    /// The name of the kind.
    const NAME: &'static str;
    /// What it is, in a line of the help.
    const ABOUT: &'static str;
    /// Whether log p₀ is 0 of every response: then there is no reference to compare with.
    const CONSTANT: bool = false;
    /// The settings that are paths.
    const PATHS: &'static [(&'static str, PathTo)] = &[];
    /// The settings that are priors themselves, each with a kind of its own.
    const PARTS: &'static [&'static str] = &[];

    /// Writes down what was left to defaults.
    fn complete(_settings: &mut Self::Settings) {}

    /// What a copy of the model is fitted to before the run, if it is.
    fn fit(_settings: &Self::Settings) -> Option<Fit> {
        None
    }

    /// The prior that these settings mean, before anything is loaded.
    ///
    /// # Errors
    /// If they make no sense; the message names the key.
    fn plan(settings: &Self::Settings, context: &dyn PriorContext) -> Result<PriorPlan>;
}

/// Something that takes kinds of priors by their types, such as a registry.
pub trait PriorKinds {
    /// Takes a kind.
    fn add<K: PriorKind>(&mut self);
}

/// A supervised fit of a copy of the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// The demonstrations.
    pub data: PathBuf,
    /// How it is fitted: the settings of `[prior.fit]`.
    pub settings: FitSettings,
}

/// `[prior.fit]`: supervised fine-tuning of a copy of the model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FitSettings {
    /// The greatest learning rate.
    pub learning_rate: f64,
    /// Passes over the demonstrations.
    pub epochs: usize,
    /// How much an optimizer step takes.
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

/// What a prior is planned in.
pub trait PriorContext {
    /// The checkpoint that the policy starts from.
    ///
    /// # Errors
    /// If the settings name none.
    fn model(&self) -> Result<PathBuf>;

    /// Where the fit of this prior is, once it is made.
    fn fitted(&self) -> Option<PathBuf>;

    /// One of [`PriorKind::PARTS`], planned; `None` where the settings do not give it.
    ///
    /// # Errors
    /// If its own settings make no sense.
    fn part(&self, key: &str) -> Result<Option<PriorPlan>>;
}

/// Loads the networks of priors.
pub trait FrozenNetworks {
    /// The frozen network of a folder, at the policy's temperature.
    ///
    /// # Errors
    /// If it cannot be loaded.
    fn network(&self, folder: &Path) -> Result<Box<dyn Network>>;

    /// V of the checkpoint in a folder.
    ///
    /// # Errors
    /// If its header cannot be read.
    fn vocab(&self, folder: &Path) -> Result<usize>;
}

/// A prior that has been decided on, not loaded yet.
pub struct PriorPlan {
    /// Its name in formulas; none where it is constant.
    pub symbol: Option<&'static str>,
    /// What it is, for a person.
    pub words: String,
    /// Whether it is a distribution, so that there is a KL to it that β can hold.
    pub normalized: bool,
    /// The checkpoint folders it reads.
    pub folders: Vec<PathBuf>,
    /// Loads it.
    pub load: Load,
}

/// Loads a prior.
pub type Load = Box<dyn FnOnce(&dyn FrozenNetworks) -> Result<Loaded>>;

impl PriorPlan {
    /// A distribution that is made from the number of vocabulary entries of `model` alone, called
    /// `symbol` in formulas.
    #[must_use]
    pub fn over_vocabulary<P: Prior + 'static>(
        symbol: &'static str,
        model: PathBuf,
        make: impl FnOnce(usize) -> P + 'static,
    ) -> Self {
        Self {
            symbol: Some(symbol),
            words: symbol.into(),
            normalized: true,
            folders: Vec::new(),
            load: Box::new(move |networks| Ok((Box::new(make(networks.vocab(&model)?)), vec![]))),
        }
    }

    /// p₀, and for each folder the checksums of what is in it.
    ///
    /// # Errors
    /// If a network cannot be loaded.
    pub fn load(self, networks: &dyn FrozenNetworks) -> Result<Loaded> {
        (self.load)(networks)
    }
}

/// Settings that make no sense.
pub(crate) fn refuse<T>(why: impl Into<String>) -> Result<T> {
    Err(Error::Unsupported(why.into()))
}
