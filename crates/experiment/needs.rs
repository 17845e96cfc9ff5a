//! What a reward needs of a data row, as the data are read.

use crate::config::Config;
use anyhow::Result;
use rlhf_data::{RowRequirement, UnusedFieldReader};
use rlhf_reward::Field;
use serde_json::{Map, Value};
use std::sync::Arc;

/// A field that the reward reads.
#[derive(Debug)]
struct OfReward(Field);

impl RowRequirement for OfReward {
    fn check(&self, row: &Map<String, Value>) -> Result<(), String> {
        self.0.check(row)
    }

    fn field(&self) -> &str {
        self.0.name()
    }
}

/// What the reward of the settings needs of every row, if there is one.
pub fn of_reward(config: &Config) -> Result<Vec<Arc<dyn RowRequirement>>> {
    let Some(rule) = &config.reward else {
        return Ok(Vec::new());
    };
    let need = |field| -> Arc<dyn RowRequirement> { Arc::new(OfReward(field)) };
    Ok(rule.fields()?.into_iter().map(need).collect())
}

/// Who reads the fields of rows that no text is made of: a reward, where there is one.
pub fn readers(config: &Config) -> UnusedFieldReader {
    match config.reward {
        Some(_) => UnusedFieldReader::Reward,
        None => UnusedFieldReader::Nobody,
    }
}
