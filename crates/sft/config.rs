//! The settings of supervised fine-tuning.

use rlhf_objective::{Dataset, Error, PerStep, Result};
use rlhf_train::Epochs;
use serde::{Deserialize, Serialize};

/// How much text a step takes. Everything else about a run belongs to the loop and the optimizer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The size of a step.
    pub per_step: PerStep,
}

impl Default for Config {
    /// 16 responses a step.
    fn default() -> Self {
        Self {
            per_step: PerStep::default(),
        }
    }
}

/// `epochs` seeded passes over `items` in batches of this size.
///
/// # Errors
/// If the size or `epochs` is zero.
pub(crate) fn passes(
    per_step: PerStep,
    items: &dyn Dataset,
    epochs: usize,
    seed: u64,
) -> Result<Epochs> {
    let (PerStep::Sequences(limit) | PerStep::Tokens(limit)) = per_step;
    if limit == 0 || epochs == 0 {
        return Err(Error::Unsupported(
            "[method] per_step and the number of epochs must be at least 1".into(),
        ));
    }
    Ok(match per_step {
        PerStep::Sequences(_) => Epochs::new(&vec![1; items.count()], limit, epochs, seed),
        PerStep::Tokens(_) => Epochs::by_tokens(items, limit, epochs, seed),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read() {
        let config: Config = serde_json::from_str(r#"{"per_step": {"tokens": 512}}"#).unwrap();
        assert_eq!(config.per_step, PerStep::Tokens(512));
        assert_eq!(
            serde_json::from_str::<Config>("{}").unwrap(),
            Config::default()
        );
        assert!(serde_json::from_str::<Config>(r#"{"per_token": 1}"#).is_err());
    }
}
