//! The host side of numbers: candle's tensors, in which losses are written, parameters and their
//! optimizer, and random numbers.
//!
//! This crate knows no language model, no policy and no loss. It is the only one that depends on
//! candle; everybody else uses what it exports, which is listed here by name. Parameters live on a
//! [`Device`](rlhf_device::Device), the processor unless something else is said.
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

#![forbid(unsafe_code)]

mod error;
mod parameters;
mod rng;
mod specs;
mod views;

pub use candle_core::{D, DType, Device, Error as CandleError, Tensor, Var};
/// candle's functions of tensors, for networks that are written to be read. Those without a backward
/// pass are kept out by clippy.
pub use candle_nn::ops;
pub use error::{Error, Result};
pub use parameters::Parameters;
pub use rlhf_device::{AdamW, MappedFile, WeightDecay};
pub use rng::{Rng, Stream};
pub use specs::{Init, ParameterSpec, Placement, Rounding, Storage};
pub use views::{Gradients, ParameterId, Weights};
