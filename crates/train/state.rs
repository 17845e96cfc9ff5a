//! Checkpoints, from which a run continues exactly as if it had not stopped.

use crate::{Error, Result};
use rlhf_journal::{Journal, write_atomic};
use rlhf_objective::{Beta, Network};
use rlhf_policy::{Networks, load_optimizer, save_optimizer};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;

const OPTIMIZER: &str = "optimizer.safetensors";
const TRAINER: &str = "trainer.json";

/// The state of a run besides its weights and its optimizer's state. Batches and random numbers depend only
/// on the step and the seed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct State {
    /// How many steps are done.
    pub step: usize,
    /// β, which changes if it is adaptive; `None` in an offline run.
    pub beta: Option<Beta>,
    /// The [state of the method](crate::Method::State); null if there is none. Earlier versions called it
    /// `memory`.
    #[serde(default, rename = "state", alias = "memory")]
    pub method: Value,
}

impl State {
    /// The state of the method, or its default if there is none.
    pub(crate) fn method_state<T: DeserializeOwned + Default>(&self) -> Result<T> {
        if self.method.is_null() {
            return Ok(T::default());
        }
        serde_json::from_value(self.method.clone()).map_err(Error::MethodState)
    }
}

/// The state of a method as JSON for `trainer.json`.
pub(crate) fn to_json(state: &impl Serialize) -> Result<Value> {
    serde_json::to_value(state).map_err(unreadable(Path::new(TRAINER)))
}

/// Writes the checkpoint of `state` atomically: the policy in Hugging Face layout, the optimizer's state and
/// `trainer.json`. Weights that are not finite are an error.
pub(crate) fn save(policy: &Networks, journal: &Journal, state: &State) -> Result<()> {
    check_finite_parameters(policy)?;
    journal.checkpoint(state.step, |folder| {
        save_policy(policy, folder)?;
        save_optimizer(policy, &folder.join(OPTIMIZER))?;
        let path = folder.join(TRAINER);
        let text = serde_json::to_string_pretty(state).map_err(unreadable(&path))?;
        write_atomic(&path, text.as_bytes()).map_err(Error::from)
    })
}

/// Checks that weights and moments are finite. A checkpoint with others could not be loaded, and writing it
/// removes the optimizer's state of the one before. A weight of −∞ whose moments are 0 is allowed: it is a
/// token of probability 0 in a table.
fn check_finite_parameters(policy: &Networks) -> Result<()> {
    for set in policy.parameter_sets() {
        for info in set.describe().iter().filter(|info| info.trained) {
            let weights = set.weights(info.name)?;
            let [first, second] = set.moments(info.name)?;
            let values = weights.iter().zip(&*first).zip(&*second);
            for ((&weight, &first), &second) in values {
                let allowed = weight == f32::NEG_INFINITY && first == 0.0 && second == 0.0;
                let named = [
                    ("weight", if allowed { 0.0 } else { weight }),
                    ("first moment", first),
                    ("second moment", second),
                ];
                if let Some((what, value)) = named.iter().find(|(_, value)| !value.is_finite()) {
                    return Err(Error::Diverged {
                        what: format!("the {what} {}", info.name),
                        value: f64::from(*value),
                    });
                }
            }
        }
    }
    Ok(())
}

/// Removes the optimizer's state, which is twice the size of the weights, from the checkpoints before `step`.
pub(crate) fn remove_old_optimizers(journal: &Journal, step: usize) -> Result<()> {
    for checkpoint in rlhf_journal::checkpoints(journal.folder())? {
        let path = checkpoint.path.join(OPTIMIZER);
        if checkpoint.step < step && path.exists() {
            std::fs::remove_file(&path).map_err(unreadable(&path))?;
        }
    }
    Ok(())
}

pub(crate) fn save_policy(policy: &Networks, folder: &Path) -> Result<()> {
    policy.save(folder).map_err(Error::Save)
}

/// Restores the optimizer's state of `policy`, whose weights were loaded from the same checkpoint folder
/// (those of its critic from the subfolder `critic`), and returns the state of the run.
///
/// # Errors
/// If a file is missing, damaged, or belongs to another network.
pub fn restore(checkpoint: &Path, policy: &mut Networks) -> Result<State> {
    let path = checkpoint.join(TRAINER);
    let text = std::fs::read_to_string(&path).map_err(unreadable(&path))?;
    let state = serde_json::from_str(&text).map_err(unreadable(&path))?;
    load_optimizer(policy, &checkpoint.join(OPTIMIZER))?;
    Ok(state)
}

fn unreadable<E: std::fmt::Display>(path: &Path) -> impl Fn(E) -> Error {
    move |error| Error::State {
        path: path.into(),
        message: error.to_string(),
    }
}
