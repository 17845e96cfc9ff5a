//! Kinds of rewards that a program using this crate adds to the built-in ones.

use rlhf_lm::Tokenizer;
use rlhf_objective::{Result, Reward};
use serde::de::DeserializeOwned;
use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use std::fmt::{self, Debug};
use std::sync::Arc;

/// A kind of reward: its name, its settings and its construction.
pub trait RewardKind: 'static {
    /// The settings in `[reward]`, without `kind`.
    type Settings: Clone + Debug + Default + Serialize + DeserializeOwned + Send + Sync + 'static;

    /// The value of `[reward] kind`, which no built-in kind has.
    const NAME: &'static str;
    /// Its description, in one line.
    const ABOUT: &'static str;

    /// Makes the reward, for a policy with the tokenizer `policy_tokenizer`.
    ///
    /// # Errors
    /// If a setting is invalid; the message names it.
    fn reward(settings: &Self::Settings, policy_tokenizer: &Tokenizer) -> Result<Box<dyn Reward>>;
}

type Make = Arc<dyn Fn(&Tokenizer) -> Result<Box<dyn Reward>> + Send + Sync>;

/// A registered kind with its settings.
#[derive(Clone)]
pub struct Registered {
    name: &'static str,
    settings: Value,
    make: Make,
}

impl Registered {
    /// A kind with its settings.
    ///
    /// # Errors
    /// If the settings cannot be written as JSON.
    pub fn new<K: RewardKind>(settings: K::Settings) -> serde_json::Result<Self> {
        Ok(Self {
            name: K::NAME,
            settings: serde_json::to_value(&settings)?,
            make: Arc::new(move |policy_tokenizer| K::reward(&settings, policy_tokenizer)),
        })
    }

    /// Makes the reward, for a policy with this tokenizer.
    ///
    /// # Errors
    /// If a setting is invalid.
    pub fn reward(&self, policy_tokenizer: &Tokenizer) -> Result<Box<dyn Reward>> {
        (self.make)(policy_tokenizer)
    }
}

impl Debug for Registered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.settings)
    }
}

impl PartialEq for Registered {
    fn eq(&self, other: &Self) -> bool {
        (self.name, &self.settings) == (other.name, &other.settings)
    }
}

impl Serialize for Registered {
    /// Serializes as the table `[reward]`.
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        let mut all = Map::from_iter([("kind".to_string(), Value::from(self.name))]);
        match &self.settings {
            Value::Object(settings) => all.extend(settings.clone()),
            Value::Null => {}
            _ => return Err(S::Error::custom("the settings of a reward must be a table")),
        }
        all.serialize(to)
    }
}
