//! Type-erased methods: the entries of a registry, and the method with its settings in a [`Config`].
//!
//! [`Config`]: crate::Config

use rlhf_policy::Role;
use rlhf_train::{
    BatchUnit, Defaults, Learner, LearnsFrom, MethodSpec, ObjectiveTerms, OfflineSpec, OnlineSpec,
    Preset, PriorUse, RowField, RunShape, Updates,
};
use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// An error of settings, with the path of its key.
pub(crate) type SettingsError = serde_path_to_error::Error<toml::de::Error>;

/// The key that an error is about; empty if it is about the whole table.
pub(crate) fn key_of(error: &SettingsError) -> String {
    let path = error.path().to_string();
    if path == "." { String::new() } else { path }
}

/// The constants of a method's [`MethodSpec`](rlhf_train::MethodSpec).
#[derive(Debug, Clone)]
pub struct Facts {
    /// Its name.
    pub name: &'static str,
    /// Its objectives.
    pub presets: &'static [Preset],
    /// What it learns from.
    pub learns_from: LearnsFrom,
    /// The roles of the networks that it trains.
    pub roles: &'static [Role],
    /// How it uses the prior.
    pub prior: PriorUse,
    /// The fields of data rows that its loss uses.
    pub row_fields: &'static [RowField],
    /// Whether it has an optimum at β = 0.
    pub allows_zero_beta: bool,
    /// The fewest responses per prompt that it learns from.
    pub min_responses_per_prompt: usize,
    /// Default settings that depend on the method.
    pub defaults: Defaults,
    /// The help text of its settings.
    pub help: String,
    /// What `train.batch_size` counts, for a method that learns from data.
    pub batch_unit: Option<BatchUnit>,
}

impl Facts {
    fn of<S: MethodSpec>(roles: &'static [Role], batch_unit: Option<BatchUnit>) -> Self {
        Self {
            name: S::NAME,
            presets: S::PRESETS,
            learns_from: S::LEARNS_FROM,
            roles,
            prior: S::PRIOR,
            row_fields: S::ROW_FIELDS,
            allows_zero_beta: S::ALLOWS_ZERO_BETA,
            min_responses_per_prompt: S::MIN_RESPONSES_PER_PROMPT,
            defaults: S::defaults(),
            help: S::help(),
            batch_unit,
        }
    }

    /// Whether it trains a critic.
    #[must_use]
    pub fn has_critic(&self) -> bool {
        self.roles.contains(&Role::Critic)
    }

    /// Whether it trains a reward model instead of a policy.
    #[must_use]
    pub fn is_reward_model(&self) -> bool {
        self.roles.contains(&Role::Scorer)
    }

    /// Whether it learns from the policy's own samples.
    #[must_use]
    pub fn online(&self) -> bool {
        self.learns_from == LearnsFrom::Samples
    }
}

/// The objectives of these methods, as in "dpo, kto and reward".
pub(crate) fn objectives<'a>(methods: impl Iterator<Item = &'a Facts>) -> String {
    let names: Vec<_> = methods
        .flat_map(|facts| facts.presets.iter().map(|preset| preset.name))
        .collect();
    match names.split_last() {
        Some((last, [])) => (*last).to_string(),
        Some((last, names)) => format!("{} and {last}", names.join(", ")),
        None => "no objective".into(),
    }
}

/// What one optimizer step is computed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// A minibatch of an iteration's responses.
    OfIteration(Updates),
    /// `train.batch_size` items of a data set, counted in this unit.
    OfData(BatchUnit),
}

/// A registered method with its type erased.
pub(crate) trait Entry: Send + Sync {
    fn facts(&self) -> &Facts;

    fn default_method(&self) -> Method;

    /// The method with the settings in `table`, the `[method]` section.
    fn with_settings(&self, table: toml::Value) -> Result<Method, SettingsError>;
}

/// A named objective: a method with a prior.
#[derive(Clone)]
pub struct Objective {
    /// Its name, description and prior.
    pub preset: Preset,
    entry: Arc<dyn Entry>,
}

impl Objective {
    /// Its method with default settings.
    #[must_use]
    pub fn method(&self) -> Method {
        self.entry.default_method()
    }

    pub(crate) fn entry(&self) -> &dyn Entry {
        &*self.entry
    }
}

/// All methods that settings can name.
#[derive(Clone, Default)]
pub struct Methods(Vec<Arc<dyn Entry>>);

impl Methods {
    pub(crate) fn add(&mut self, entry: impl Entry + 'static) {
        self.0.push(Arc::new(entry));
    }

    /// All objectives, in the order in which their methods were added.
    #[must_use]
    pub fn objectives(&self) -> Vec<Objective> {
        let mut objectives = Vec::new();
        for entry in &self.0 {
            objectives.extend(entry.facts().presets.iter().map(|preset| Objective {
                preset: *preset,
                entry: entry.clone(),
            }));
        }
        objectives
    }

    /// An objective by its name.
    #[must_use]
    pub fn objective(&self, name: &str) -> Option<Objective> {
        self.objectives()
            .into_iter()
            .find(|objective| objective.preset.name == name)
    }

    /// The constants of each method, in the order in which the methods were added.
    pub fn facts(&self) -> impl Iterator<Item = &Facts> {
        self.0.iter().map(|entry| entry.facts())
    }
}

/// A method with its settings, with both types erased.
pub(crate) trait Configured: Send + Sync {
    fn facts(&self) -> &Facts;

    fn settings(&self) -> Result<toml::Table, toml::ser::Error>;

    fn check(&self, run: &RunShape) -> rlhf_objective::Result<()>;

    fn summary(&self, terms: &ObjectiveTerms<'_>) -> String;

    fn optimum(&self, terms: &ObjectiveTerms<'_>) -> String;

    fn describe_beta(&self, terms: &ObjectiveTerms<'_>) -> String;

    fn step(&self) -> Step;

    /// The settings, to downcast to their type.
    fn typed(&self) -> &dyn Any;
}

/// A method with its settings.
#[derive(Clone)]
pub struct Method(Arc<dyn Configured>);

impl Method {
    /// The constants of the method.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        self.0.facts()
    }

    /// Its settings, if the method is `S`.
    #[must_use]
    pub fn settings<S: MethodSpec>(&self) -> Option<&S::Settings> {
        let same = self.facts().name == S::NAME;
        self.0.typed().downcast_ref().filter(|_| same)
    }

    pub(crate) fn configured(&self) -> &dyn Configured {
        &*self.0
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", self.facts().name, self.0.settings())
    }
}

impl PartialEq for Method {
    fn eq(&self, other: &Self) -> bool {
        let of = |method: &Self| (method.facts().name, method.0.settings().ok());
        of(self) == of(other)
    }
}

impl serde::Serialize for Method {
    /// Serializes the settings, as in `[method]`.
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let table = self.0.settings().map_err(serde::ser::Error::custom)?;
        table.serialize(to)
    }
}

/// The registry entry of the method `S`.
pub(crate) struct Listed<S: MethodSpec> {
    facts: Facts,
    step: fn(&S::Settings) -> Step,
}

impl<S: MethodSpec> Clone for Listed<S> {
    fn clone(&self) -> Self {
        Self {
            facts: self.facts.clone(),
            ..*self
        }
    }
}

impl<S: MethodSpec> Listed<S> {
    /// The method with these settings.
    pub(crate) fn with(&self, settings: S::Settings) -> Method {
        Method(Arc::new(WithSettings {
            listed: self.clone(),
            settings,
        }))
    }

    /// Its first objective.
    pub(crate) fn objective(&self) -> Objective {
        Objective {
            preset: S::PRESETS[0],
            entry: Arc::new(self.clone()),
        }
    }
}

impl<S: OnlineSpec> Listed<S> {
    /// A method that learns from the policy's own samples.
    pub(crate) fn online() -> Self {
        Self {
            facts: Facts::of::<S>(S::Method::ROLES, None),
            step: |settings| Step::OfIteration(S::updates(settings)),
        }
    }
}

impl<S: OfflineSpec> Listed<S> {
    /// A method that learns from a data set.
    pub(crate) fn offline() -> Self {
        Self {
            facts: Facts::of::<S>(S::Learner::ROLES, Some(S::BATCH_UNIT)),
            step: |_| Step::OfData(S::BATCH_UNIT),
        }
    }
}

impl<S: MethodSpec> Entry for Listed<S> {
    fn facts(&self) -> &Facts {
        &self.facts
    }

    fn default_method(&self) -> Method {
        self.with(S::Settings::default())
    }

    fn with_settings(&self, table: toml::Value) -> Result<Method, SettingsError> {
        Ok(self.with(serde_path_to_error::deserialize(table)?))
    }
}

struct WithSettings<S: MethodSpec> {
    listed: Listed<S>,
    settings: S::Settings,
}

impl<S: MethodSpec> Configured for WithSettings<S> {
    fn facts(&self) -> &Facts {
        &self.listed.facts
    }

    fn settings(&self) -> Result<toml::Table, toml::ser::Error> {
        toml::Table::try_from(&self.settings)
    }

    fn check(&self, run: &RunShape) -> rlhf_objective::Result<()> {
        S::check(&self.settings, run)
    }

    fn summary(&self, terms: &ObjectiveTerms<'_>) -> String {
        S::summary(&self.settings, terms)
    }

    fn optimum(&self, terms: &ObjectiveTerms<'_>) -> String {
        S::optimum(&self.settings, terms)
    }

    fn describe_beta(&self, terms: &ObjectiveTerms<'_>) -> String {
        S::describe_beta(&self.settings, terms)
    }

    fn step(&self) -> Step {
        (self.listed.step)(&self.settings)
    }

    fn typed(&self) -> &dyn Any {
        &self.settings
    }
}
