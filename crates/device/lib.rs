//! Memory and kernels: the [`Device`] trait, and its implementation for the processor, [`Cpu`].
//!
//! Kernels do not know language models, policies or losses. All `unsafe` code of the workspace is here.
//! A device is one folder: its memory, its kernels, and its implementation of [`operations`](Device).
//!
//! ```
//! use rlhf_device::{Cpu, Dtype, Matrix, Memory, Precision, Products, Slice, StoredMut, Write};
//!
//! let device = Cpu;
//! let (mut a, mut c) = (device.zeroed(6), device.zeroed(4));
//! let values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
//! device.write(&values, StoredMut::new(&mut a, Dtype::F32, 0..6));
//! // c ← a·aᵀ
//! let matrix = Matrix::new(Slice::first(&a, 6), 3);
//! let into = device.at_least(&mut c, 4);
//! device.matmul(Precision::F32, into, Write::Over, 1.0, matrix, matrix.t());
//! assert_eq!(*device.to_host(Slice::first(&c, 4).into()), [14.0, 32.0, 32.0, 77.0]);
//! ```

mod adamw;
mod alloc_tracker;
mod columns;
pub mod cpu;
mod device;
mod map;
mod operands;
mod operations;
mod rows;
mod shapes;
mod slice;
mod span;
mod stored;
mod types;

pub use adamw::{AdamW, AdamWStep, Trained, WeightDecay};
pub use alloc_tracker::AllocTracker;
pub use columns::{Columns, ColumnsMut};
pub use cpu::Cpu;
pub use device::Device;
pub use map::MappedFile;
pub use operands::{Attended, CachedPrompt, CachedRow, Epilogue, NormGradients, NormWeights, Rope};
pub use operations::{Attention, Layers, Memory, Optimizer, Products, Readout};
pub use rows::{LogRows, Rows};
pub use shapes::{AttentionShape, Nonlinearity, Norm, NormKind, Precision, RowGradient, Write};
pub use slice::{PairMut, Slice, SliceMut};
pub use stored::{Dtype, Matrix, Stored, StoredMut};
pub use types::DeviceTypes;
