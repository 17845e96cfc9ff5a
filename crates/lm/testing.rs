//! The parameters of a network that has one set of them, for tests.

use crate::ModelConfig;
use crate::file_order::FileOrders;
use rlhf_objective::{Network, ParameterSet};
use rlhf_tensor::{Rng, Stream};
use safetensors::{Dtype, SafeTensors};
use std::path::Path;

pub(crate) fn parameters(network: &dyn Network) -> &dyn ParameterSet {
    network.parameter_sets()[0]
}

pub(crate) fn parameters_mut(network: &mut dyn Network) -> &mut dyn ParameterSet {
    network.parameter_sets_mut().remove(0)
}

/// Names in order.
pub(crate) fn names(network: &dyn Network) -> Vec<String> {
    let all = parameters(network).describe();
    all.iter().map(|info| info.name.to_owned()).collect()
}

/// How many numbers there are.
pub(crate) fn count(network: &dyn Network) -> usize {
    let all = parameters(network).describe();
    all.iter()
        .map(|info| info.shape.iter().product::<usize>())
        .sum()
}

pub(crate) fn weights(network: &dyn Network, name: &str) -> Vec<f32> {
    parameters(network).weights(name).unwrap().into_owned()
}

pub(crate) fn gradient(network: &dyn Network, name: &str) -> Vec<f32> {
    parameters(network).gradient(name).unwrap().into_owned()
}

pub(crate) fn set(network: &mut dyn Network, name: &str, values: &[f32]) {
    parameters_mut(network).set_weights(name, values).unwrap();
}

/// Adds to one weight.
pub(crate) fn nudge(network: &mut dyn Network, name: &str, index: usize, step: f32) {
    let mut values = weights(network, name);
    values[index] += step;
    set(network, name, &values);
}

/// Draws the weights of one parameter anew.
pub(crate) fn randomize_only(network: &mut dyn Network, name: &str, seed: u64) {
    let mut rng = Rng::new(seed, Stream::Init, 0, 0);
    let mut values = weights(network, name);
    values.fill_with(|| rng.normal() as f32);
    set(network, name, &values);
}

/// Draws all weights anew, large enough to matter, those of norms and biases too.
pub(crate) fn randomize(network: &mut dyn Network, seed: u64) {
    for (index, name) in names(network).iter().enumerate() {
        let mut rng = Rng::new(seed, Stream::Init, index as u64, 0);
        let mut values = weights(network, name);
        values
            .iter_mut()
            .for_each(|value| *value = (0.4 * rng.normal()) as f32);
        set(network, name, &values);
    }
}

/// A gradient as the file of the checkpoint orders its tensor.
pub(crate) fn gradient_as_stored(network: &dyn Network, folder: &Path, name: &str) -> Vec<f32> {
    let config = ModelConfig::load(folder).unwrap();
    let order = FileOrders::of(&config).get(name);
    let gradient = gradient(network, name);
    order.of_file(&gradient).collect::<Vec<_>>().concat()
}

/// A tensor of a file in f32, as it lies there; the head by its name in transformers 5 too.
pub(crate) fn stored(folder: &Path, name: &str) -> Vec<f32> {
    let bytes = std::fs::read(folder.join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let other = name.replace("embed_out.", "lm_head.");
    let view = tensors.tensor(name).or(tensors.tensor(&other)).unwrap();
    match view.dtype() {
        Dtype::F32 => {
            let chunks = view.data().as_chunks::<4>().0.iter();
            chunks.map(|b| f32::from_le_bytes(*b)).collect()
        }
        Dtype::BF16 => {
            let chunks = view.data().as_chunks::<2>().0.iter();
            chunks
                .map(|b| half::bf16::from_le_bytes(*b).to_f32())
                .collect()
        }
        other => panic!("{name} is of type {other:?}"),
    }
}
