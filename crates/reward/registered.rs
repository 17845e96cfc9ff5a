//! Rewards that a program of one's own adds to those of this crate.

use rlhf_lm::Tokenizer;
use rlhf_objective::{Result, Reward};
use serde::de::DeserializeOwned;
use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use std::fmt::{self, Debug};
use std::sync::Arc;

/// A kind of reward that `[reward] kind` names.
pub trait RewardKind: 'static {
    /// `[reward]`, without `kind`.
    type Settings: Clone + Debug + Default + Serialize + DeserializeOwned + Send + Sync + 'static;

    /// The name of the kind; no kind of this crate has it.
    const NAME: &'static str;
    /// What it rewards, in a line.
    const ABOUT: &'static str;

    /// The reward of these settings, for a policy with this tokenizer.
    ///
    /// # Errors
    /// If a setting makes no sense; the message names it.
    fn reward(settings: &Self::Settings, reader: &Tokenizer) -> Result<Box<dyn Reward>>;
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
            make: Arc::new(move |reader| K::reward(&settings, reader)),
        })
    }

    /// The reward, for a policy with this tokenizer.
    ///
    /// # Errors
    /// If a setting makes no sense.
    pub fn reward(&self, reader: &Tokenizer) -> Result<Box<dyn Reward>> {
        (self.make)(reader)
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
    /// As `[reward]`.
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        let mut all = Map::from_iter([("kind".to_string(), Value::from(self.name))]);
        match &self.settings {
            Value::Object(settings) => all.extend(settings.clone()),
            Value::Null => {}
            _ => return Err(S::Error::custom("the settings of a reward are a table")),
        }
        all.serialize(to)
    }
}
