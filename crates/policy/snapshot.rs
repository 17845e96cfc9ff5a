//! Saves and loads the state of the optimizer.

use rlhf_objective::{Network, ParameterSet};
use rlhf_tensor::MappedFile;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The metadata key of the step counts, one per network, separated by spaces.
const STEPS: &str = "steps";

/// The error of a file of optimizer state.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {message}")]
pub struct SnapshotError {
    path: PathBuf,
    message: String,
}

impl SnapshotError {
    fn at<E: std::fmt::Display>(path: &Path) -> impl Fn(E) -> Self {
        move |error| Self {
            path: path.into(),
            message: error.to_string(),
        }
    }
}

/// Writes the moments of every trained parameter and the step counts to a safetensors file: tensors
/// `N.name.first` and `N.name.second` for parameter `name` of network N. The file is replaced
/// atomically.
///
/// # Errors
/// If it cannot be written.
pub fn save_optimizer(network: &dyn Network, path: &Path) -> Result<(), SnapshotError> {
    let mut moments: Vec<(String, Cow<'_, [f32]>)> = Vec::new();
    let mut steps = Vec::new();
    let sets = network.parameter_sets();
    for (index, set) in sets
        .into_iter()
        .enumerate()
        .filter(|(_, set)| set.is_trained())
    {
        steps.push(set.steps().to_string());
        for (name, _) in trained(set) {
            let values = set.moments(&name).map_err(SnapshotError::at(path))?;
            moments.extend(tensor_names(index, &name).into_iter().zip(values));
        }
    }
    let mut views = Vec::with_capacity(moments.len());
    for (name, values) in &moments {
        let view = TensorView::new(Dtype::F32, vec![values.len()], bytemuck::cast_slice(values));
        views.push((name, view.map_err(SnapshotError::at(path))?));
    }
    // One key only: the order of several is not fixed, and the same state must give the same bytes.
    let metadata = HashMap::from([(STEPS.to_owned(), steps.join(" "))]);
    let write = |path: &Path| {
        safetensors::serialize_to_file(views, Some(metadata), path).map_err(std::io::Error::other)
    };
    rlhf_files::replace(path, write).map_err(SnapshotError::at(path))
}

/// Loads what [`save_optimizer`] saved for a network with the same parameters.
///
/// # Errors
/// If the file cannot be read, or belongs to a network with other parameters. The state may then be
/// partly loaded and must not be used.
pub fn load_optimizer(network: &mut dyn Network, path: &Path) -> Result<(), SnapshotError> {
    let file = MappedFile::open(path).map_err(SnapshotError::at(path))?;
    let (_, header) = SafeTensors::read_metadata(&file).map_err(SnapshotError::at(path))?;
    let tensors = SafeTensors::deserialize(&file).map_err(SnapshotError::at(path))?;
    let metadata = header.metadata().as_ref();
    let steps = metadata.and_then(|metadata| {
        metadata
            .get(STEPS)?
            .split(' ')
            .map(|n| n.parse().ok())
            .collect::<Option<Vec<u64>>>()
    });
    let mut steps = steps.unwrap_or_default().into_iter();
    let read = |name: &str, length: usize| -> Result<Vec<f32>, SnapshotError> {
        let view = tensors.tensor(name).map_err(SnapshotError::at(path))?;
        if view.dtype() != Dtype::F32 || view.shape() != [length] {
            let message = format!(
                "tensor {name} has the wrong shape or type: the file belongs to another network"
            );
            return Err(SnapshotError::at(path)(message));
        }
        Ok(bytemuck::pod_collect_to_vec(view.data()))
    };
    let sets = network.parameter_sets_mut();
    for (index, set) in sets
        .into_iter()
        .enumerate()
        .filter(|(_, set)| set.is_trained())
    {
        let missing =
            || SnapshotError::at(path)("a step count is missing: the file belongs to another run");
        set.set_steps(steps.next().ok_or_else(missing)?);
        for (name, length) in trained(set) {
            let [first, second] = tensor_names(index, &name);
            let (first, second) = (read(&first, length)?, read(&second, length)?);
            let restored = set.set_moments(&name, [&first, &second]);
            restored.map_err(SnapshotError::at(path))?;
        }
    }
    Ok(())
}

/// The names and lengths of the trained parameters of a set.
fn trained(set: &dyn ParameterSet) -> Vec<(String, usize)> {
    let all = set.describe().into_iter().filter(|info| info.trained);
    all.map(|info| (info.name.to_owned(), info.shape.iter().product()))
        .collect()
}

/// The names of the moments of a parameter of network `index` in the file.
fn tensor_names(index: usize, name: &str) -> [String; 2] {
    ["first", "second"].map(|moment| format!("{index}.{name}.{moment}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bigram, sequences};
    use crate::{Networks, Role, SavedNetwork};
    use rlhf_objective::{OutputGrads, OutputSpec};
    use rlhf_tensor::{AdamW, Storage};

    fn networks(policy: Bigram, critic: Bigram) -> Networks {
        let [policy, critic] = [policy, critic].map(|one| SavedNetwork::new(one, Bigram::save));
        Networks::policy(policy).with(Role::Critic, critic).unwrap()
    }

    fn network(vocab: usize) -> Networks {
        let bigram = |seed| Bigram::random(vocab, Storage::Trainable, seed);
        networks(bigram(1), bigram(2))
    }

    fn step(network: &mut Networks, value: f32) {
        let s = sequences();
        network.forward(&s, OutputSpec::TRAIN).unwrap();
        let gradients = OutputGrads {
            log_probs: Some(vec![value; s.tokens()]),
            values: Some(vec![value; s.tokens()]),
            ..OutputGrads::default()
        };
        network.backward(&gradients).unwrap();
        network.optimizer_step(&AdamW::default(), 0.1, 1.0);
    }

    #[test]
    fn a_restored_optimizer_takes_the_same_step() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("optimizer.safetensors");
        let mut first = network(5);
        step(&mut first, 0.3);
        step(&mut first, -2.0);
        save_optimizer(&first, &path).unwrap();
        first.save(folder.path()).unwrap();
        let bytes = std::fs::read(&path).unwrap();

        let load = |folder: &Path| Bigram::load(folder, Storage::Trainable).unwrap();
        let critic = load(&folder.path().join("critic"));
        let mut second = networks(load(folder.path()), critic);
        load_optimizer(&mut second, &path).unwrap();
        step(&mut first, 0.7);
        step(&mut second, 0.7);
        assert_eq!(first.checksums(), second.checksums());
        second.parameter_sets_mut()[0].set_steps(9);
        load_optimizer(&mut second, &path).unwrap();
        save_optimizer(&second, &path).unwrap();
        assert_eq!(bytes, std::fs::read(&path).unwrap());
    }

    #[test]
    fn the_state_of_another_network_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("optimizer.safetensors");
        save_optimizer(&network(5), &path).unwrap();
        let error = load_optimizer(&mut network(4), &path)
            .unwrap_err()
            .to_string();
        assert!(error.contains("0.logits.first"), "{error}");
        std::fs::write(&path, b"short").unwrap();
        assert!(load_optimizer(&mut network(5), &path).is_err());
    }
}
