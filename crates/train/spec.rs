//! What the folder of a method says about it. A registry lists these; nobody else knows a method by its
//! name.

use crate::{Learner, Method, Source};
use rlhf_objective::{Adaptive, BatchSize, Beta, Error, Result, Target};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// What a method learns from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LearnsFrom {
    /// Responses that the policy draws to prompts, and their rewards.
    Samples,
    /// Preference pairs.
    Pairs,
    /// Single answers, each preferred or not.
    UnpairedPreferences,
    /// Demonstrations.
    Demonstrations,
}

/// A field of a data row, beside its texts, that a loss may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowField {
    /// What a pair weighs.
    Weight,
    /// By how much the chosen response should win.
    Margin,
    /// Which response is better, or whether it is good.
    Label,
}

/// What the prior is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PriorUse {
    /// Nothing.
    Nothing,
    /// The KL to it is what β prices.
    Penalty,
    /// Responses that a finished reward model is scaled on.
    Scale,
}

/// A name for a method with a prior, as in `--objective ppo-kl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// The name of the objective.
    pub name: &'static str,
    /// What it is, in a line of the help.
    pub about: &'static str,
    /// The kind of its prior, which `[prior]` overrides.
    pub prior: &'static str,
}

/// The default values that depend on the method.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Defaults {
    /// β, in units of the reward a nat.
    pub beta: f64,
    /// The greatest learning rate.
    pub learning_rate: f64,
    /// The share of the steps over which the learning rate rises.
    pub warmup: f64,
    /// Responses to each prompt; what learns from data draws none.
    pub samples_per_prompt: usize,
    /// Passes over the data; what learns from samples has iterations.
    pub epochs: usize,
}

impl Default for Defaults {
    /// Of a method that learns from samples.
    fn default() -> Self {
        Self {
            beta: 0.05,
            learning_rate: 1e-5,
            warmup: 0.0,
            samples_per_prompt: 1,
            epochs: 1,
        }
    }
}

/// What the settings of a method must fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunShape {
    /// Responses drawn in an iteration.
    pub responses: usize,
    /// Prompts of an iteration.
    pub prompts: usize,
    /// Whether log p₀ is 0 of every response: there is no reference to compare with.
    pub constant_prior: bool,
}

impl RunShape {
    /// Whether each optimizer step sees as much of an iteration's `items`, called `what`, as every other.
    ///
    /// # Errors
    /// If `minibatches` does not divide them.
    pub fn check_minibatches(minibatches: usize, items: usize, what: &str) -> Result<()> {
        if items.is_multiple_of(minibatches) {
            return Ok(());
        }
        Err(Error::Unsupported(format!(
            "method.minibatches = {minibatches} does not divide the {items} {what} of an iteration: the \
             steps would not be of one size; change it, or sampling.rollouts"
        )))
    }
}

/// What `train.batch_size` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchUnit {
    /// Items of this name, in the singular.
    Items(&'static str),
    /// Items of this name, or tokens.
    ItemsOrTokens(&'static str),
}

impl BatchUnit {
    /// The name of an item, in the singular.
    #[must_use]
    pub fn item(self) -> &'static str {
        let (Self::Items(item) | Self::ItemsOrTokens(item)) = self;
        item
    }

    /// Refuses a size that cannot be.
    ///
    /// # Errors
    /// If it is 0, or a number of tokens where items are counted; the message names the setting.
    pub fn check(self, size: BatchSize) -> Result<()> {
        let wrong = match (self, size) {
            (_, BatchSize::Items(0) | BatchSize::Tokens(0)) => "must be at least 1".into(),
            (Self::Items(item), BatchSize::Tokens(_)) => {
                format!("this method counts its batches in {item}s; give a number, as in 16")
            }
            _ => return Ok(()),
        };
        let size = match size {
            BatchSize::Items(count) => count.to_string(),
            BatchSize::Tokens(most) => format!("{{ tokens = {most} }}"),
        };
        Err(Error::Unsupported(format!(
            "train.batch_size = {size}: {wrong}"
        )))
    }
}

/// How the responses of an iteration are gone over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Updates {
    /// Passes over them.
    pub epochs: usize,
    /// Optimizer steps of a pass.
    pub minibatches: usize,
    /// Whether an iteration may end before its last step.
    pub may_stop_early: bool,
}

impl Updates {
    /// One step on all responses.
    pub const ONE: Self = Self {
        epochs: 1,
        minibatches: 1,
        may_stop_early: false,
    };
}

/// What a run optimizes over, for sentences about it.
#[derive(Debug, Clone, Copy)]
pub struct Aim<'a> {
    /// The name of the objective.
    pub objective: &'a str,
    /// β.
    pub beta: &'a Beta,
    /// The prior in formulas; none where log p₀ is 0 of every response.
    pub prior: Option<&'a str>,
}

impl Aim<'_> {
    /// "prior(y|x)·", or nothing where the prior is constant.
    #[must_use]
    pub fn weight(&self) -> String {
        self.prior
            .map_or_else(String::new, |prior| format!("{prior}(y|x)·"))
    }

    /// "maximize E\[r\] − β·KL(π ‖ prior)", which is β·H(π) where the prior is constant.
    #[must_use]
    pub fn maximizes(&self) -> String {
        let penalty = match self.prior {
            Some(prior) => format!("− β·KL(π ‖ {prior})"),
            None => "+ β·H(π)".into(),
        };
        let objective = self.objective;
        format!("{objective}: maximize E[r] {penalty}, r the reward of a response")
    }

    /// π* = p₀·exp(r/β)/Z, the optimum of a method that maximizes J.
    #[must_use]
    pub fn optimum(&self) -> String {
        let weight = self.weight();
        match self.beta {
            Beta::Fixed(beta) if *beta == 0.0 => {
                "π* gives each prompt only its responses of greatest reward".into()
            }
            Beta::Fixed(beta) => format!("π*(y|x) ∝ {weight}exp(r/{beta})"),
            Beta::Adaptive(_) => format!("π*(y|x) ∝ {weight}exp(r/β), which moves with β"),
        }
    }

    /// β in words.
    #[must_use]
    pub fn price(&self) -> String {
        match self.beta {
            Beta::Fixed(beta) => format!("{beta} units of the reward a nat"),
            Beta::Adaptive(Adaptive {
                beta: start,
                target,
                lowest,
                greatest,
                ..
            }) => {
                let held = match target {
                    Target::Kl(nats) => format!("the KL at {nats}"),
                    Target::Entropy(nats) => format!("the entropy at {nats}"),
                };
                format!(
                    "from {start}, moved to hold {held} nats a sequence, between {lowest} and \
                     {greatest}"
                )
            }
        }
    }
}

/// A method as its folder declares it: its name, its settings, what it needs, and where it rests.
///
/// It is also an [`OnlineSpec`] or an [`OfflineSpec`], by the loop that runs it.
pub trait MethodSpec: 'static {
    /// `[method]`: typed, with defaults.
    type Settings: Clone
        + Debug
        + Default
        + PartialEq
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static;

    /// The name of the method.
    const NAME: &'static str;
    /// What it is, in a line of the help.
    const ABOUT: &'static str;
    /// Its objectives: itself with one prior or another.
    const PRESETS: &'static [Preset] = &[Preset {
        name: Self::NAME,
        about: Self::ABOUT,
        prior: "reference",
    }];
    /// What it learns from.
    const LEARNS_FROM: LearnsFrom = LearnsFrom::Samples;
    /// What it asks the prior for.
    const PRIOR: PriorUse = PriorUse::Penalty;
    /// The fields of data rows that its loss uses, beside the texts.
    const ROW_FIELDS: &'static [RowField] = &[];
    /// Whether it has an optimum at β = 0.
    const ALLOWS_ZERO_BETA: bool = true;
    /// The fewest responses to a prompt that it learns from: 2 where it compares them.
    const LEAST_RESPONSES: usize = 1;

    /// The defaults of what belongs to no method alone.
    fn defaults() -> Defaults {
        Defaults::default()
    }

    /// Refuses settings that make no sense, or do not fit the run.
    ///
    /// # Errors
    /// If one is out of its range; the message names it.
    fn check(_settings: &Self::Settings, _run: &RunShape) -> Result<()> {
        Ok(())
    }

    /// What is maximized or minimized, in a line.
    fn summary(_settings: &Self::Settings, aim: &Aim<'_>) -> String {
        aim.maximizes()
    }

    /// Where it rests, in a line: π*, or what instead.
    fn optimum(_settings: &Self::Settings, aim: &Aim<'_>) -> String {
        aim.optimum()
    }

    /// What β is to it, in a line.
    fn price(_settings: &Self::Settings, aim: &Aim<'_>) -> String {
        aim.price()
    }

    /// What `--help` says of its settings, below the options; most say nothing.
    #[must_use]
    fn help() -> String {
        String::new()
    }
}

/// A method that learns from the policy's own samples, run by [`online`](crate::online).
pub trait OnlineSpec: MethodSpec {
    /// The method.
    type Method: Method;

    /// The method with these settings.
    ///
    /// # Errors
    /// If a setting is out of its range.
    fn method(settings: &Self::Settings) -> Result<Self::Method>;

    /// How the responses of an iteration are gone over.
    fn updates(_settings: &Self::Settings) -> Updates {
        Updates::ONE
    }
}

/// How often an offline run goes over its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataPasses {
    /// Passes.
    pub epochs: usize,
    /// `train.batch_size`: how much an optimizer step takes.
    pub batch_size: BatchSize,
    /// The seed of the order.
    pub seed: u64,
}

impl DataPasses {
    /// The number of items of a batch, of a method whose batches are counted in items.
    ///
    /// # Errors
    /// If it is 0, or a number of tokens; the message names the setting.
    pub fn items(&self, unit: BatchUnit) -> Result<usize> {
        unit.check(self.batch_size)?;
        Ok(self.batch_size.limit())
    }
}

/// A method that learns from a fixed data set, run by [`offline`](crate::offline).
pub trait OfflineSpec: MethodSpec {
    /// What its batches are counted in.
    const BATCH_UNIT: BatchUnit = BatchUnit::Items("pair");

    /// What all its batches are made of.
    type Data;
    /// What it is measured on at the end.
    type HeldOut;
    /// Its loss.
    type Learner: Learner;
    /// Its batches.
    type Source: Source<Batch = <Self::Learner as Learner>::Batch>;

    /// The loss with these settings.
    ///
    /// # Errors
    /// If a setting is out of its range.
    fn learner(settings: &Self::Settings) -> Result<Self::Learner>;

    /// All batches of a run.
    ///
    /// # Errors
    /// If the data are none, or not what the method learns from.
    fn source(
        settings: &Self::Settings,
        data: Self::Data,
        passes: &DataPasses,
    ) -> Result<Self::Source>;

    /// What was held out, as one batch.
    ///
    /// # Errors
    /// As [`source`](Self::source).
    fn held_out(
        settings: &Self::Settings,
        data: Self::HeldOut,
    ) -> Result<<Self::Learner as Learner>::Batch>;
}
