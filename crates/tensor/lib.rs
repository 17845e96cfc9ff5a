//! Tensors on the host (candle's, in which losses are written), model parameters with their AdamW
//! state, and seeded random numbers.
//!
//! This crate contains no language model, no policy and no loss. It is the only crate that depends on
//! candle; the others use the names it re-exports below. Parameters are stored on a
//! [`Device`](rlhf_device::Device), by default the CPU.
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

mod entry;
mod error;
mod parameters;
mod rng;
mod shared;
mod specs;
mod views;

pub use candle_core::{D, DType, Device, Error as CandleError, Tensor, Var};
/// candle's neural-network operations, for the reference implementations of networks. The operations
/// without a backward pass are forbidden by clippy (`disallowed-methods`).
pub use candle_nn::ops;
pub use error::{Error, Result};
pub use parameters::Parameters;
pub use rlhf_device::{AdamW, MappedFile, WeightDecay};
pub use rng::{Rng, Stream};
pub use shared::SharedWeights;
pub use specs::{Init, ParameterSpec, Placement, Rounding, Storage};
pub use views::{Gradients, ParameterId, Weights};
