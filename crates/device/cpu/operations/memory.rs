//! [`Memory`] of the processor: each operation is a kernel of the folder above.

use crate::cpu::{self, Buffer, Cpu, Numbers};
use crate::{Columns, ColumnsMut, Memory, Slice, SliceMut, Stored, StoredMut};
use std::borrow::Cow;

impl Memory for Cpu {
    /// On one of rayon's threads: handing a pass over once costs less than handing over each of its many
    /// small pieces.
    #[inline]
    fn run<T: Send>(&self, pass: impl FnOnce() -> T + Send) -> T {
        rayon::scope(|_| pass())
    }

    fn zeroed(&self, length: usize) -> Buffer {
        Buffer::zeroed(length)
    }

    #[inline]
    fn at_least<'a>(&self, buffer: &'a mut Buffer, length: usize) -> SliceMut<'a, Self> {
        buffer.at_least(length);
        SliceMut::first(buffer, length)
    }

    fn grow(&self, buffer: &mut Buffer, kept: usize, length: usize) {
        buffer.grow(kept, length);
    }

    fn clear(&self, x: SliceMut<'_, Self>) {
        x.host().fill(0.0);
    }

    fn copy(&self, from: Slice<'_, Self>, to: SliceMut<'_, Self>) {
        to.host().copy_from_slice(from.host());
    }

    fn add(&self, from: Slice<'_, Self>, to: SliceMut<'_, Self>) {
        cpu::add(from.host(), to.host());
    }

    fn add_columns(&self, from: Columns<'_, Self>, to: ColumnsMut<'_, Self>) {
        cpu::add_columns(from.host(), to.host());
    }

    fn to_host<'a>(&self, numbers: Stored<'a, Self>) -> Cow<'a, [f32]> {
        match numbers.host() {
            Numbers::F32(all) => Cow::Borrowed(all),
            words @ Numbers::Bf16(_) => {
                let mut all = vec![0.0; words.len()];
                words.copy(0, &mut all);
                Cow::Owned(all)
            }
        }
    }

    fn write(&self, values: &[f32], to: StoredMut<'_, Self>) {
        assert_eq!(values.len(), to.len());
        to.host().write(0, values);
    }
}
