//! The declaration of a method: its name, settings, data and defaults. A registry lists the declarations;
//! no other code refers to methods by name.

use crate::{Learner, Method, Source};
use rlhf_objective::{Adaptive, BatchSize, Beta, Error, Result, Target};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;

/// What a method learns from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LearnsFrom {
    /// Responses sampled from the policy, and their rewards.
    Samples,
    /// Preference pairs.
    Pairs,
    /// Single responses, each labelled as preferred or not.
    UnpairedPreferences,
    /// Demonstrations.
    Demonstrations,
}

/// A field of a data row, besides its texts, that a loss may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowField {
    /// The weight of a pair.
    Weight,
    /// The margin by which the score of the chosen response should exceed the other.
    Margin,
    /// The probability that a response is preferred.
    Label,
}

/// What a method uses the prior for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PriorUse {
    /// Nothing.
    Nothing,
    /// The KL penalty.
    Penalty,
    /// Responses on which the scores of a finished reward model are normalized.
    Scale,
}

/// The name of a method with a prior, as in `--objective ppo-kl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// The name of the objective.
    pub name: &'static str,
    /// Its description, one line of the help.
    pub about: &'static str,
    /// The kind of its prior, unless `[prior]` sets one.
    pub prior: &'static str,
}

/// The default values that depend on the method.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Defaults {
    /// β, in units of the reward per nat.
    pub beta: f64,
    /// The peak learning rate.
    pub learning_rate: f64,
    /// The fraction of steps that are warm-up.
    pub warmup: f64,
    /// Responses per prompt, for methods that learn from samples.
    pub samples_per_prompt: usize,
    /// Epochs over the data, for methods that learn from a data set.
    pub epochs: usize,
}

impl Default for Defaults {
    /// The defaults of a method that learns from samples.
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

/// The sizes of a run, against which the settings of a method are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunShape {
    /// Responses per iteration.
    pub responses: usize,
    /// Prompts per iteration.
    pub prompts: usize,
    /// Whether log p₀ is 0 for every response, so that there is no reference to compare with.
    pub constant_prior: bool,
}

impl RunShape {
    /// Checks that all optimizer steps of an iteration use the same number of its `items`, whose name is
    /// `what`.
    ///
    /// # Errors
    /// If `minibatches` does not divide them.
    pub fn check_minibatches(minibatches: usize, items: usize, what: &str) -> Result<()> {
        if items.is_multiple_of(minibatches) {
            return Ok(());
        }
        Err(Error::Unsupported(format!(
            "method.minibatches = {minibatches} does not divide the {items} {what} of an iteration, so the \
            mini-batches would differ in size: change it, or sampling.rollouts"
        )))
    }
}

/// The unit of `train.batch_size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchUnit {
    /// Items of this name (singular).
    Items(&'static str),
    /// Items of this name (singular), or tokens.
    ItemsOrTokens(&'static str),
}

impl BatchUnit {
    /// The name of an item, singular.
    #[must_use]
    pub fn item(self) -> &'static str {
        let (Self::Items(item) | Self::ItemsOrTokens(item)) = self;
        item
    }

    /// Checks a batch size.
    ///
    /// # Errors
    /// If it is 0, or a number of tokens for a method that counts items; the message names the setting.
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

/// The optimizer steps of an iteration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Updates {
    /// Epochs over the responses.
    pub epochs: usize,
    /// Optimizer steps per epoch.
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

/// The objective's name, β and prior, from which a method describes what it optimizes.
#[derive(Debug, Clone, Copy)]
pub struct ObjectiveTerms<'a> {
    /// The name of the objective.
    pub objective: &'a str,
    /// β.
    pub beta: &'a Beta,
    /// The symbol of the prior in formulas; `None` if log p₀ is 0 for every response.
    pub prior: Option<&'a str>,
}

impl ObjectiveTerms<'_> {
    /// "prior(y|x)·", or nothing if the prior is constant.
    #[must_use]
    pub fn weight(&self) -> String {
        self.prior
            .map_or_else(String::new, |prior| format!("{prior}(y|x)·"))
    }

    /// "maximize E\[r\] − β·KL(π ‖ prior)", or "+ β·H(π)" if the prior is constant.
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
                "π* gives each prompt only the responses with the greatest reward".into()
            }
            Beta::Fixed(beta) => format!("π*(y|x) ∝ {weight}exp(r/{beta})"),
            Beta::Adaptive(_) => format!("π*(y|x) ∝ {weight}exp(r/β), which changes with β"),
        }
    }

    /// The value of β, or how it is adapted.
    #[must_use]
    pub fn describe_beta(&self) -> String {
        match self.beta {
            Beta::Fixed(beta) => format!("{beta} units of the reward per nat"),
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
                    "starts at {start}, adapted to keep {held} nats per sequence, between {lowest} \
                    and {greatest}"
                )
            }
        }
    }
}

/// The declaration of a method: its name, settings, requirements and optimum.
///
/// A method also implements [`OnlineSpec`] or [`OfflineSpec`], depending on its loop.
pub trait MethodSpec: 'static {
    /// The settings in `[method]`, with defaults.
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
    /// Its description, one line of the help.
    const ABOUT: &'static str;
    /// Its objectives: the method combined with a prior.
    const PRESETS: &'static [Preset] = &[Preset {
        name: Self::NAME,
        about: Self::ABOUT,
        prior: "reference",
    }];
    /// The kind of data it learns from.
    const LEARNS_FROM: LearnsFrom = LearnsFrom::Samples;
    /// What it uses the prior for.
    const PRIOR: PriorUse = PriorUse::Penalty;
    /// The fields of data rows that its loss uses, besides the texts.
    const ROW_FIELDS: &'static [RowField] = &[];
    /// Whether it has an optimum at β = 0.
    const ALLOWS_ZERO_BETA: bool = true;
    /// The minimum number of responses per prompt: 2 for methods that compare them.
    const MIN_RESPONSES_PER_PROMPT: usize = 1;

    /// The method's defaults of settings outside `[method]`.
    fn defaults() -> Defaults {
        Defaults::default()
    }

    /// Checks the settings, alone and against the sizes of the run.
    ///
    /// # Errors
    /// If a setting is invalid; the message names it.
    fn check(_settings: &Self::Settings, _run: &RunShape) -> Result<()> {
        Ok(())
    }

    /// What is maximized or minimized, in one line.
    fn summary(_settings: &Self::Settings, terms: &ObjectiveTerms<'_>) -> String {
        terms.maximizes()
    }

    /// Its fixed point, in one line: π*, or another policy.
    fn optimum(_settings: &Self::Settings, terms: &ObjectiveTerms<'_>) -> String {
        terms.optimum()
    }

    /// The role and the value of β, in one line.
    fn describe_beta(_settings: &Self::Settings, terms: &ObjectiveTerms<'_>) -> String {
        terms.describe_beta()
    }

    /// Text about its settings for `--help`, below the options; mostly empty.
    #[must_use]
    fn help() -> String {
        String::new()
    }
}

/// A method that learns from the policy's own samples, run by [`online`](crate::online).
pub trait OnlineSpec: MethodSpec {
    /// The method.
    type Method: Method;

    /// Makes the method from its settings.
    ///
    /// # Errors
    /// If a setting is out of its range.
    fn method(settings: &Self::Settings) -> Result<Self::Method>;

    /// The optimizer steps of an iteration.
    fn updates(_settings: &Self::Settings) -> Updates {
        Updates::ONE
    }
}

/// The epochs, the batch size and the order of an offline run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataPasses {
    /// The number of epochs.
    pub epochs: usize,
    /// `train.batch_size`, the size of the batch of an optimizer step.
    pub batch_size: BatchSize,
    /// The seed of the order.
    pub seed: u64,
}

impl DataPasses {
    /// The number of items of a batch, for a method that counts items.
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
    /// The unit of its batch size.
    const BATCH_UNIT: BatchUnit = BatchUnit::Items("pair");

    /// The training data.
    type Data;
    /// The held-out data for the evaluation at the end.
    type HeldOut;
    /// The loss.
    type Learner: Learner;
    /// The batches.
    type Source: Source<Batch = <Self::Learner as Learner>::Batch>;

    /// Makes the loss from the settings.
    ///
    /// # Errors
    /// If a setting is out of its range.
    fn learner(settings: &Self::Settings) -> Result<Self::Learner>;

    /// Makes the batches of a run.
    ///
    /// # Errors
    /// If the data are empty, or not of the kind the method learns from.
    fn source(
        settings: &Self::Settings,
        data: Self::Data,
        passes: &DataPasses,
    ) -> Result<Self::Source>;

    /// The held-out data as one batch.
    ///
    /// # Errors
    /// As [`source`](Self::source).
    fn held_out(
        settings: &Self::Settings,
        data: Self::HeldOut,
    ) -> Result<<Self::Learner as Learner>::Batch>;
}
