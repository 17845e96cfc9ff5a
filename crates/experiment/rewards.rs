//! The rewards that a program registers in addition to the built-in rules.

use crate::method::SettingsError;
use rlhf_reward::{Registered, RewardKind, Rule};
use toml::{Table, Value};

/// Builds a reward from its settings.
type Make = fn(Value) -> Result<Registered, SettingsError>;

/// Registered kinds of rewards. The built-in ones are the variants of [`Rule`].
#[derive(Clone, Default)]
pub struct Rewards(Vec<(&'static str, &'static str, Make)>);

impl Rewards {
    /// Adds a kind.
    pub(crate) fn add<K: RewardKind>(&mut self) {
        self.0.push((K::NAME, K::ABOUT, |settings| {
            let settings = serde_path_to_error::deserialize(settings)?;
            Registered::new::<K>(settings).map_err(|error| {
                let error = <toml::de::Error as serde::de::Error>::custom(error);
                SettingsError::new(serde_path_to_error::Track::new().path(), error)
            })
        }));
    }

    /// The name and description of each kind.
    pub fn names(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.0.iter().map(|(name, about, _)| (*name, *about))
    }

    /// Parses `[reward]` by its registered kind; `None` if its kind is not registered.
    pub(crate) fn rule(&self, section: &Table) -> Option<Result<Rule, SettingsError>> {
        let kind = section.get("kind")?.as_str()?;
        let (.., make) = self.0.iter().find(|(name, ..)| *name == kind)?;
        let mut settings = section.clone();
        settings.remove("kind");
        Some(make(Value::Table(settings)).map(Rule::Registered))
    }

    /// The registered reward named `text`, with default settings; `None` if there is none.
    pub(crate) fn named(&self, text: &str) -> Option<Result<Rule, SettingsError>> {
        self.rule(&Table::from_iter([("kind".to_string(), text.into())]))
    }
}
