//! Memory of a device, and how passes run on it.

use crate::{DeviceTypes, Slice, SliceMut, Stored, StoredMut};
use std::borrow::Cow;

/// Buffers of a device.
pub trait Memory: DeviceTypes {
    /// Runs a whole pass of many operations where starting each of them costs least.
    fn run<T: Send>(&self, pass: impl FnOnce() -> T + Send) -> T;

    /// `length` zeros.
    fn zeroed(&self, length: usize) -> Self::Buffer;

    /// The first `length` floats of a buffer, after growing to that many where there are fewer: then all
    /// are zero, else they hold what they held. It never shrinks.
    fn at_least<'a>(&self, buffer: &'a mut Self::Buffer, length: usize) -> SliceMut<'a, Self>;

    /// Grows a buffer to at least `length` floats, of which the first `kept` hold what they held.
    fn grow(&self, buffer: &mut Self::Buffer, kept: usize, length: usize);

    /// All zero.
    fn clear(&self, x: SliceMut<'_, Self>);

    /// `to` ← `from`.
    fn copy(&self, from: Slice<'_, Self>, to: SliceMut<'_, Self>);

    /// Numbers on the host, in f32, which holds either type exactly: copied, unless they lie there.
    fn to_host<'a>(&self, numbers: Stored<'a, Self>) -> Cow<'a, [f32]>;

    /// Takes numbers from the host, each as the nearest there is, ties to even.
    fn write(&self, values: &[f32], to: StoredMut<'_, Self>);
}
