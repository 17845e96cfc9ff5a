//! The parameters of a network that has one set of them, for tests.

use rlhf_objective::{Network, ParameterSet};
use rlhf_tensor::{Rng, Stream};

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
