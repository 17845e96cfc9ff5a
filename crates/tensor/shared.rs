//! Weights that several tables share.

use crate::entry::Entry;
use rlhf_device::{Cpu, Device};

/// The frozen weights of a network that several tables read and none writes: a LoRA policy and its reference
/// prior are two tables over the same base.
#[derive(Debug)]
pub struct SharedWeights<D: Device = Cpu> {
    pub(crate) device: D,
    pub(crate) entries: Vec<Entry>,
    pub(crate) floats: D::Buffer,
    pub(crate) words: D::Buffer,
}
