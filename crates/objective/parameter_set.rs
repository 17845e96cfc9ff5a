//! The interface of a network's parameters to optimizers and checkpoints, on any device.

use crate::{Error, Result};
use rlhf_device::Device;
use rlhf_tensor::{AdamW, ParameterId, Parameters};
use std::borrow::Cow;

/// One parameter, for plans, checkpoints and tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParameterInfo<'a> {
    /// The name, as in the checkpoint file.
    pub name: &'a str,
    /// The shape, row-major.
    pub shape: &'a [usize],
    /// Whether the optimizer updates it.
    pub trained: bool,
}

/// The parameters of one network with their gradients, moments and number of optimizer steps. They may be
/// in host memory, where these methods borrow them, or on a device, where they copy one parameter at a
/// time to the host.
///
/// The optimizer is AdamW ([`AdamW`]). Parameters that are not trained have no gradient and no moments;
/// only [`set_weights`](Self::set_weights) changes them.
pub trait ParameterSet {
    /// All parameters, in order.
    fn describe(&self) -> Vec<ParameterInfo<'_>>;

    /// The weights of a parameter in f32, row-major, however they are stored.
    ///
    /// # Errors
    /// If there is no such parameter.
    fn weights(&self, name: &str) -> Result<Cow<'_, [f32]>>;

    /// Overwrites the weights of a parameter, and increases the [`version`](Self::version).
    ///
    /// # Errors
    /// If there is no such parameter, or the lengths differ.
    fn set_weights(&mut self, name: &str, values: &[f32]) -> Result<()>;

    /// The gradient of a parameter, accumulated by the backward passes since the last step.
    ///
    /// # Errors
    /// If there is no such parameter, or it is not trained.
    fn gradient(&self, name: &str) -> Result<Cow<'_, [f32]>>;

    /// The first and second moments of a parameter.
    ///
    /// # Errors
    /// If there is no such parameter, or it is not trained.
    fn moments(&self, name: &str) -> Result<[Cow<'_, [f32]>; 2]>;

    /// Restores the first and second moments of a parameter.
    ///
    /// # Errors
    /// If there is no such parameter, it is not trained, or the lengths differ.
    fn set_moments(&mut self, name: &str, moments: [&[f32]; 2]) -> Result<()>;

    /// How many optimizer steps were taken; 0 if nothing is trained.
    fn steps(&self) -> u64;

    /// Restores the number of steps. Does nothing if nothing is trained.
    fn set_steps(&mut self, steps: u64);

    /// The Euclidean norm of all gradients (0 if nothing is trained), summed in f64, the same for any
    /// number of threads.
    fn gradient_norm(&self) -> f64;

    /// Sets all gradients to zero.
    fn zero_gradients(&mut self);

    /// Takes one AdamW step with gradients multiplied by `gradient_scale`, then sets them to zero.
    fn optimizer_step(&mut self, adamw: &AdamW, learning_rate: f64, gradient_scale: f64);

    /// Counts the calls that may have changed the weights. As long as it is equal, so are the weights.
    fn version(&self) -> u64;

    /// SHA-256 over names, shapes and weights in f32, as lower-case hexadecimal: equal if and only if the
    /// parameters are equal, in any storage type.
    fn checksum(&self) -> String;

    /// Whether the optimizer updates any parameter.
    fn is_trained(&self) -> bool {
        self.describe().iter().any(|info| info.trained)
    }

    /// Updates an exponential moving average of `online`'s weights, in f32: θ̄ ← (1 − τ)·θ̄ + τ·θ
    /// (Polyak & Juditsky 1992; as target networks: Lillicrap et al. 2015, §3).
    ///
    /// # Errors
    /// If the names or lengths of the parameters differ.
    fn average_towards(&mut self, online: &dyn ParameterSet, tau: f64) -> Result<()> {
        let names: Vec<String> = self
            .describe()
            .into_iter()
            .map(|info| info.name.to_owned())
            .collect();
        let tau = tau as f32;
        for name in names {
            let mut values = self.weights(&name)?.into_owned();
            let towards = online.weights(&name)?;
            check_length("weights", values.len(), towards.len())?;
            for (value, towards) in values.iter_mut().zip(&*towards) {
                *value = (1.0 - tau) * *value + tau * towards;
            }
            self.set_weights(&name, &values)?;
        }
        Ok(())
    }
}

fn check_length(what: &'static str, expected: usize, got: usize) -> Result<()> {
    if expected == got {
        Ok(())
    } else {
        Err(Error::Size {
            what,
            expected,
            got,
        })
    }
}

fn id<D: Device>(parameters: &Parameters<D>, name: &str) -> Result<ParameterId> {
    let unknown = || Error::other(rlhf_tensor::Error::UnknownParameter(name.into()));
    parameters.id(name).ok_or_else(unknown)
}

fn frozen(what: &'static str) -> Error {
    Error::other(rlhf_tensor::Error::Frozen(what))
}

/// Parameters on any device.
impl<D: Device> ParameterSet for Parameters<D> {
    fn describe(&self) -> Vec<ParameterInfo<'_>> {
        self.specs().map(info).collect()
    }

    fn weights(&self, name: &str) -> Result<Cow<'_, [f32]>> {
        Ok(self.to_host(id(self, name)?))
    }

    fn set_weights(&mut self, name: &str, values: &[f32]) -> Result<()> {
        self.set(name, values).map_err(Error::other)
    }

    fn gradient(&self, name: &str) -> Result<Cow<'_, [f32]>> {
        let gradient = self.gradient_to_host(id(self, name)?);
        gradient.ok_or_else(|| frozen("gradients"))
    }

    fn moments(&self, name: &str) -> Result<[Cow<'_, [f32]>; 2]> {
        let moments = self.moments_to_host(id(self, name)?);
        moments.ok_or_else(|| frozen("moments"))
    }

    fn set_moments(&mut self, name: &str, moments: [&[f32]; 2]) -> Result<()> {
        let id = id(self, name)?;
        let spec = self.spec(id);
        if !spec.trainable {
            return Err(frozen("moments"));
        }
        let length = spec.shape.iter().product();
        check_length("first moments", length, moments[0].len())?;
        check_length("second moments", length, moments[1].len())?;
        Self::set_moments(self, id, moments);
        Ok(())
    }

    fn steps(&self) -> u64 {
        Self::steps(self)
    }

    fn set_steps(&mut self, steps: u64) {
        Self::set_steps(self, steps);
    }

    fn gradient_norm(&self) -> f64 {
        Self::gradient_norm(self)
    }

    fn zero_gradients(&mut self) {
        Self::zero_gradients(self);
    }

    fn optimizer_step(&mut self, adamw: &AdamW, learning_rate: f64, gradient_scale: f64) {
        self.adamw_step(adamw, learning_rate, gradient_scale);
    }

    fn version(&self) -> u64 {
        Self::version(self)
    }

    fn checksum(&self) -> String {
        Self::checksum(self)
    }
}

fn info(spec: &rlhf_tensor::ParameterSpec) -> ParameterInfo<'_> {
    ParameterInfo {
        name: &spec.name,
        shape: &spec.shape,
        trained: spec.trainable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlhf_tensor::{ParameterSpec, Storage};

    fn set(storage: Storage, matrix: [f32; 4], bias: [f32; 2]) -> Parameters {
        let specs = vec![
            ParameterSpec::matrix("matrix", &[2, 2]).may_round(),
            ParameterSpec::undecayed("bias", &[2]),
        ];
        let mut set = Parameters::new(specs, storage);
        set.set_weights("matrix", &matrix).unwrap();
        set.set_weights("bias", &bias).unwrap();
        set
    }

    fn read(set: &dyn ParameterSet, name: &str) -> Vec<f32> {
        set.weights(name).unwrap().into_owned()
    }

    /// By hand: ¾·(1, −2, 0, 4) + ¼·(5, 2, −4, 4) = (2, −1, −1, 4), and ¾·(8, 0) + ¼·(0, 1) = (6, ¼);
    /// again: ¾·(2, −1, −1, 4) + ¼·(5, 2, −4, 4) = (2.75, −0.25, −1.75, 4).
    #[test]
    fn average_towards_moves_each_weight_by_tau() {
        let online = set(Storage::Trainable, [5.0, 2.0, -4.0, 4.0], [0.0, 1.0]);
        let mut copy = set(Storage::Frozen, [1.0, -2.0, 0.0, 4.0], [8.0, 0.0]);
        let version = ParameterSet::version(&copy);
        copy.average_towards(&online, 0.25).unwrap();
        assert_eq!(read(&copy, "matrix"), [2.0, -1.0, -1.0, 4.0]);
        assert_eq!(read(&copy, "bias"), [6.0, 0.25]);
        assert_ne!(ParameterSet::version(&copy), version);
        copy.average_towards(&online, 0.25).unwrap();
        assert_eq!(read(&copy, "matrix"), [2.75, -0.25, -1.75, 4.0]);
        copy.average_towards(&online, 1.0).unwrap();
        assert_eq!(
            ParameterSet::checksum(&copy),
            ParameterSet::checksum(&online)
        );
    }

    #[test]
    fn frozen_parameters_have_no_optimizer_state() {
        let mut frozen = set(Storage::FrozenBf16, [1.0, 2.0, 3.0, 4.0], [0.5, 0.5]);
        assert!(!frozen.is_trained() && set(Storage::Trainable, [0.0; 4], [0.0; 2]).is_trained());
        assert_eq!(read(&frozen, "matrix"), [1.0, 2.0, 3.0, 4.0]);
        let error = ParameterSet::moments(&frozen, "bias").unwrap_err();
        assert!(error.to_string().contains("frozen"), "{error}");
        assert!(ParameterSet::gradient(&frozen, "bias").is_err());
        assert!(ParameterSet::set_moments(&mut frozen, "bias", [&[0.0; 2]; 2]).is_err());
        let before = ParameterSet::checksum(&frozen);
        frozen.optimizer_step(&AdamW::default(), 1.0, 1.0);
        frozen.set_steps(3);
        assert_eq!(ParameterSet::steps(&frozen), 0);
        assert_eq!(ParameterSet::checksum(&frozen), before);
    }

    #[test]
    fn names_and_lengths_are_checked() {
        let mut trained = set(Storage::Trainable, [0.0; 4], [0.0; 2]);
        let error = ParameterSet::weights(&trained, "scale").unwrap_err();
        assert!(error.to_string().contains("`scale`"), "{error}");
        assert!(trained.set_weights("bias", &[1.0; 3]).is_err());
        assert!(ParameterSet::set_moments(&mut trained, "bias", [&[0.0; 2], &[0.0; 3]]).is_err());
        ParameterSet::set_moments(&mut trained, "bias", [&[1.0; 2], &[2.0; 2]]).unwrap();
        let [first, second] = ParameterSet::moments(&trained, "bias").unwrap();
        assert_eq!((&*first, &*second), (&[1.0; 2][..], &[2.0; 2][..]));
    }
}
