//! Where the parameters of a table lie.

use crate::ParameterSpec;
use rlhf_device::Dtype;
use std::ops::Range;

/// A parameter's spec and its position in the buffers.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) spec: ParameterSpec,
    /// Whether it lies in weights that other tables share.
    pub(crate) shared: bool,
    /// The type it is stored in, which selects the buffer: `floats` or `words`.
    pub(crate) dtype: Dtype,
    /// Its range in that buffer, in numbers of that type.
    pub(crate) range: Range<usize>,
    /// The start of its gradient and of its moments in their buffers, if it is trained.
    pub(crate) gradient: Option<usize>,
}

impl Entry {
    /// Its range in the buffers of gradients and moments, if it is trained.
    pub(crate) fn trained(&self) -> Option<Range<usize>> {
        let start = self.gradient?;
        Some(start..start + self.range.len())
    }
}
