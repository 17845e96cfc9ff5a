//! The settings of a run, as written in `config.toml`.
//!
//! `defaults` holds all default values, `check` validates the settings, and `layers` merges a file and
//! `--set` over the defaults. Nothing is opened or loaded here: see `prepared`.

mod beta;
mod check;
mod defaults;
mod prior;
mod sections;

pub use beta::{AdaptiveBeta, BetaSetting};
pub(crate) use prior::PriorError;
pub use prior::{PathSlot, PriorFacts, PriorSection, Priors};
pub use sections::{
    BackendName, Critic, DataSection, DtypeName, EvalSection, ModelSection, OptimSection,
    SamplingSection, TrainSection,
};

use crate::method::Method;
use anyhow::Result;
use rlhf_reward::Rule;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// All settings of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Config {
    /// The name of the objective: a method with its prior.
    pub objective: String,
    /// β.
    pub beta: BetaSetting,
    /// `[model]`
    pub model: ModelSection,
    /// `[prior]`
    pub prior: PriorSection,
    /// `[reward]`
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward: Option<Rule>,
    /// `[data]`
    pub data: DataSection,
    /// The method of the objective, with `[method]` as its settings.
    pub method: Method,
    /// `[sampling]`
    pub sampling: SamplingSection,
    /// `[optim]`
    pub optim: OptimSection,
    /// `[train]`
    pub train: TrainSection,
    /// `[eval]`
    pub eval: EvalSection,
    /// The folder of the prior's fits, inside the run folder; `None` before there is a run folder.
    #[serde(skip)]
    pub prior_fits: Option<PathBuf>,
}

/// The merged settings before the method, prior and reward are parsed; becomes a [`Config`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sections {
    objective: String,
    beta: BetaSetting,
    model: ModelSection,
    /// Parsed by its kind of prior.
    pub(crate) prior: toml::Table,
    /// Parsed as a built-in rule or by its registered kind.
    #[serde(default)]
    pub(crate) reward: Option<toml::Table>,
    data: DataSection,
    /// Parsed by the method.
    #[serde(rename = "method")]
    _method: toml::Table,
    sampling: SamplingSection,
    optim: OptimSection,
    train: TrainSection,
    eval: EvalSection,
}

impl Sections {
    /// The settings with the parsed method, prior and reward.
    pub(crate) fn with(self, method: Method, prior: PriorSection, reward: Option<Rule>) -> Config {
        let Self {
            objective,
            beta,
            model,
            prior: _,
            reward: _,
            data,
            _method: _,
            sampling,
            optim,
            train,
            eval,
        } = self;
        Config {
            objective,
            beta,
            model,
            prior,
            reward,
            data,
            method,
            sampling,
            optim,
            train,
            eval,
            prior_fits: None,
        }
    }
}

impl Config {
    /// Sets the folder of the prior's fits, inside the run folder `folder`.
    pub(crate) fn locate_fits(&mut self, folder: &Path) {
        self.prior_fits = Some(folder.join("prior"));
    }

    /// Whether the method learns from the policy's own samples.
    #[must_use]
    pub fn online(&self) -> bool {
        self.method.facts().online()
    }

    /// The settings as stored in the run folder `folder`. Paths inside it are made relative to it, so that
    /// the folder can be moved.
    pub fn stored_in(mut self, folder: &Path) -> Result<Self> {
        let folder = std::path::absolute(folder)?;
        for (_, mut path) in self.paths() {
            if let Ok(inside) = path.get().strip_prefix(&folder) {
                path.set(inside.into());
            }
        }
        Ok(self)
    }

    /// Undoes [`stored_in`](Self::stored_in): makes paths absolute, where `folder` is now.
    pub fn read_from(mut self, folder: &Path) -> Result<Self> {
        let folder = std::path::absolute(folder)?;
        for (_, mut path) in self.paths() {
            let here = folder.join(path.get());
            // A hub repository is stored with its commit, as owner/name@commit, and stays as it is.
            if here.exists() || !path.get().to_string_lossy().contains('@') {
                path.set(here);
            }
        }
        Ok(self)
    }

    /// Every path in the settings, with its key.
    pub fn paths(&mut self) -> Vec<(String, PathSlot<'_>)> {
        let own = [
            ("model.path", &mut self.model.path),
            ("data.train", &mut self.data.train),
            ("data.held_out", &mut self.data.held_out),
            ("data.chat_template", &mut self.data.chat_template),
        ];
        let own = own.into_iter();
        let own =
            own.filter_map(|(key, path)| Some((key.to_string(), PathSlot::Path(path.as_mut()?))));
        let reward = self.reward.iter_mut().flat_map(Rule::files);
        let reward = reward.map(|path| ("reward".to_string(), PathSlot::Path(path)));
        own.chain(self.prior.paths("prior")).chain(reward).collect()
    }
}
