//! Where numbers live and are computed with: the [`Device`] trait, and [`Cpu`].
//!
//! Kernels know no language model, no policy and no loss. All `unsafe` code of the workspace is here.
//! A device is one folder: its memory, its kernels, and its `impl Device`.
//!
//! ```
//! use rlhf_device::{Cpu, Device, Dtype, Matrix, Precision, Slice, StoredMut, Write};
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
pub mod cpu;
mod device;
mod map;
mod operands;
mod rows;
mod slice;

pub use adamw::{AdamW, AdamWStep, Trained, WeightDecay};
pub use alloc_tracker::AllocTracker;
pub use cpu::Cpu;
pub use device::Device;
pub use map::MappedFile;
pub use operands::{
    Attended, AttentionShape, CachedPrompt, CachedRow, Epilogue, Nonlinearity, Precision,
    RowGradient, Write,
};
pub use rows::{LogRows, Rows};
pub use slice::{Dtype, Matrix, PairMut, Slice, SliceMut, Stored, StoredMut};
