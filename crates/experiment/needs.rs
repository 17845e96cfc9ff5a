//! The fields of data rows that the reward reads.

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

/// The fields that every row must have for the reward; none without a reward.
pub fn of_reward(config: &Config) -> Result<Vec<Arc<dyn RowRequirement>>> {
    let Some(rule) = &config.reward else {
        return Ok(Vec::new());
    };
    let need = |field| -> Arc<dyn RowRequirement> { Arc::new(OfReward(field)) };
    Ok(rule.fields()?.into_iter().map(need).collect())
}

/// What reads the fields of rows that are not text: the reward, if there is one.
pub fn readers(config: &Config) -> UnusedFieldReader {
    match config.reward {
        Some(_) => UnusedFieldReader::Reward,
        None => UnusedFieldReader::Nobody,
    }
}
