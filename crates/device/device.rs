//! A device: everything that a transformer needs to be run and trained.

use crate::operations::{Attention, Layers, Memory, Optimizer, Products, Readout};

/// Memory, and the operations of a transformer on it, each with its backward pass. A device does not know
/// language models. Every type that implements all families of operations is a device.
///
/// Operations are as coarse as the fused CPU kernels: biases belong to products, logits are overwritten
/// by their gradients, the softmax of attention is never stored, weights are packed once for decoding.
/// A device with finer operations calls several of its own.
///
/// Matrices are row-major; n are rows (tokens), D is the width of a row, V the number of vocabulary
/// entries. Arguments and results of one number per row or token are host slices; rows of V numbers stay in
/// the device's memory and are lent as [`Rows`](crate::Rows). The results of one build on one machine depend
/// neither on the number of threads nor on the order in which a device happens to finish its work.
///
/// # Panics
/// Every operation panics where sizes do not fit: callers have checked what comes from a user.
pub trait Device: Memory + Products + Layers + Attention + Readout + Optimizer {}

impl<D: Memory + Products + Layers + Attention + Readout + Optimizer> Device for D {}
