//! The optimizer's state in one file, read back exactly.

use rlhf_objective::Network;
use rlhf_tensor::{MappedFile, Moments, Parameters};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The metadata key of the step counts, one a network, separated by spaces.
const STEPS: &str = "steps";

/// An optimizer state that cannot be written or read.
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
/// `N.name.first` and `N.name.second` for parameter `name` of network N. The file appears when it is
/// complete.
///
/// # Errors
/// If it cannot be written.
pub fn save_optimizer(network: &dyn Network, path: &Path) -> Result<(), SnapshotError> {
    let tables = network.parameters();
    let mut views = Vec::new();
    let mut steps = Vec::new();
    for (index, parameters) in tables.iter().enumerate() {
        let Some(moments) = parameters.moments() else {
            continue;
        };
        steps.push(moments.steps.to_string());
        for (name, values) in moments_of(parameters, moments, index) {
            let bytes = bytemuck::cast_slice(values);
            let view = TensorView::new(Dtype::F32, vec![values.len()], bytes);
            views.push((name, view.map_err(SnapshotError::at(path))?));
        }
    }
    // One key only: the order of several is not fixed, and the same state must give the same bytes.
    let metadata = HashMap::from([(STEPS.to_owned(), steps.join(" "))]);
    let partial = path.with_extension("tmp");
    safetensors::serialize_to_file(views, Some(metadata), &partial)
        .map_err(SnapshotError::at(path))?;
    std::fs::rename(&partial, path).map_err(SnapshotError::at(path))
}

/// Reads back what [`save_optimizer`] wrote for a network of the same shape.
///
/// # Errors
/// If the file cannot be read, or belongs to a network with other parameters; then the state is
/// unusable and the run must not go on.
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
    for (index, parameters) in network.parameters_mut().into_iter().enumerate() {
        let names: Vec<_> = parameters
            .ids()
            .map(|id| (parameters.spec(id).name.clone(), parameters.range(id)))
            .collect();
        let Some(moments) = parameters.moments_mut() else {
            continue;
        };
        let missing =
            || SnapshotError::at(path)("no step count of a network: it is of another run");
        moments.steps = steps.next().ok_or_else(missing)?;
        for (name, range) in names {
            for (suffix, buffer) in [
                ("first", &mut moments.first),
                ("second", &mut moments.second),
            ] {
                let name = format!("{index}.{name}.{suffix}");
                let view = tensors.tensor(&name).map_err(SnapshotError::at(path))?;
                let into: &mut [u8] = bytemuck::cast_slice_mut(&mut buffer[range.clone()]);
                if view.dtype() != Dtype::F32 || view.data().len() != into.len() {
                    let message =
                        format!("tensor {name} has another shape: it is of another network");
                    return Err(SnapshotError::at(path)(message));
                }
                into.copy_from_slice(view.data());
            }
        }
    }
    Ok(())
}

/// The names and values of the moments of one network.
fn moments_of<'a>(
    parameters: &'a Parameters,
    moments: &'a Moments,
    index: usize,
) -> impl Iterator<Item = (String, &'a [f32])> {
    parameters.ids().flat_map(move |id| {
        let (name, range) = (&parameters.spec(id).name, parameters.range(id));
        [
            (
                format!("{index}.{name}.first"),
                &moments.first[range.clone()],
            ),
            (format!("{index}.{name}.second"), &moments.second[range]),
        ]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ActorCritic;
    use crate::testing::Bigram;
    use rlhf_tensor::{AdamW, Storage};

    fn network(vocab: usize) -> ActorCritic {
        let bigram = |seed| Box::new(Bigram::random(vocab, Storage::Trainable, seed));
        ActorCritic::with_critic(bigram(1), bigram(2))
    }

    fn step(network: &mut ActorCritic, value: f32) {
        for parameters in network.parameters_mut() {
            for id in parameters.ids() {
                parameters.gradients_mut().get_mut(id).fill(value);
            }
            parameters.adamw_step(&AdamW::default(), 0.1, 1.0);
        }
    }

    fn checksums(network: &ActorCritic) -> Vec<String> {
        network.parameters().iter().map(|p| p.checksum()).collect()
    }

    #[test]
    fn a_restored_optimizer_steps_as_the_first_would() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("optimizer.safetensors");
        let mut first = network(5);
        step(&mut first, 0.3);
        step(&mut first, -2.0);
        save_optimizer(&first, &path).unwrap();
        first.save(folder.path()).unwrap();
        let bytes = std::fs::read(&path).unwrap();

        let load = |folder: &Path| Box::new(Bigram::load(folder, Storage::Trainable).unwrap());
        let critic = load(&folder.path().join("critic"));
        let mut second = ActorCritic::with_critic(load(folder.path()), critic);
        load_optimizer(&mut second, &path).unwrap();
        step(&mut first, 0.7);
        step(&mut second, 0.7);
        assert_eq!(checksums(&first), checksums(&second));
        second.parameters_mut()[0].moments_mut().unwrap().steps = 9;
        load_optimizer(&mut second, &path).unwrap();
        save_optimizer(&second, &path).unwrap();
        assert_eq!(bytes, std::fs::read(&path).unwrap());
    }

    #[test]
    fn another_networks_state_is_refused() {
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
