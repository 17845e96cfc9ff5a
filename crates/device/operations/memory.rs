//! Buffers of a device, and passes on it.

use crate::{Columns, ColumnsMut, DeviceTypes, Slice, SliceMut, Stored, StoredMut};
use std::borrow::Cow;

/// Allocating, reading and writing buffers.
pub trait Memory: DeviceTypes {
    /// Runs a pass of many operations in the context where starting an operation is cheapest.
    fn run<T: Send>(&self, pass: impl FnOnce() -> T + Send) -> T;

    /// `length` zeros.
    fn zeroed(&self, length: usize) -> Self::Buffer;

    /// The first `length` floats of a buffer. A shorter buffer is replaced by one of `length` zeros; a longer
    /// one keeps its length and contents.
    fn at_least<'a>(&self, buffer: &'a mut Self::Buffer, length: usize) -> SliceMut<'a, Self>;

    /// Grows a buffer to at least `length` floats, and keeps the contents of the first `kept`.
    fn grow(&self, buffer: &mut Self::Buffer, kept: usize, length: usize);

    /// `x` ← 0.
    fn clear(&self, x: SliceMut<'_, Self>);

    /// `to` ← `from`.
    fn copy(&self, from: Slice<'_, Self>, to: SliceMut<'_, Self>);

    /// `to` ← `to` + `from`.
    fn add(&self, from: Slice<'_, Self>, to: SliceMut<'_, Self>);

    /// `to` ← `to` + `from`, column by column of matrices of as many rows and columns.
    fn add_columns(&self, from: Columns<'_, Self>, to: ColumnsMut<'_, Self>);

    /// The numbers on the host, in f32, which represents both types exactly. They are copied unless they are f32
    /// in host memory.
    fn to_host<'a>(&self, numbers: Stored<'a, Self>) -> Cow<'a, [f32]>;

    /// Writes numbers from the host, each rounded to the nearest number of the destination's type, ties to even.
    fn write(&self, values: &[f32], to: StoredMut<'_, Self>);
}
