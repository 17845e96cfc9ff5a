//! The engine room: tensors, parameters and their optimizer, random numbers, CPU kernels.
//!
//! This crate knows no language model, no policy and no loss. It is the only one that depends on
//! candle and the only one with `unsafe` code; everybody else uses what it exports.
//!
//! ```
//! use rlhf_tensor::{AdamW, Init, ParameterSpec, Parameters, Rng, Stream, Storage};
//!
//! let specs = vec![ParameterSpec::matrix("w", &[2, 3])];
//! let mut parameters = Parameters::new(specs, Storage::Trainable);
//! parameters.initialize("w", Init::Normal { std: 0.02 }, &mut Rng::new(7, Stream::Init, 0, 0));
//! let id = parameters.id("w").unwrap();
//! parameters.gradients_mut().get_mut(id).fill(1.0);
//! let norm = parameters.gradient_norm();
//! parameters.adamw_step(&AdamW::default(), 1e-3, 1.0 / norm.max(1.0));
//! ```

pub mod cpu;
mod error;
mod map;
mod optim;
mod parameters;
mod rng;
mod specs;
mod views;
mod watch;

pub use candle_core::{self, D, DType, Device, IndexOp, Tensor, Var, backprop::GradStore};
pub use candle_nn;
pub use error::{Error, Result};
pub use map::MappedFile;
pub use optim::{AdamW, Moments};
pub use parameters::Parameters;
pub use rng::{Rng, Stream};
pub use specs::{Decay, Init, ParameterSpec, Rounding, Storage};
pub use views::{Gradients, ParameterId, Weights};
pub use watch::Watch;
