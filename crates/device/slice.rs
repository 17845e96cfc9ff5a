//! Ranges of a device's buffers, in f32. Only the device can access the numbers.

use crate::DeviceTypes;
use crate::span::{Span, span_methods};
use std::ops::Range;

/// Consecutive floats of a [`Buffer`](DeviceTypes::Buffer), to read.
#[derive(Debug)]
pub struct Slice<'a, D: DeviceTypes> {
    pub(crate) buffer: &'a D::Buffer,
    pub(crate) span: Span,
}

impl<D: DeviceTypes> Clone for Slice<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: DeviceTypes> Copy for Slice<'_, D> {}

impl<'a, D: DeviceTypes> Slice<'a, D> {
    /// This range of a buffer, in floats. Operations panic where the buffer is shorter.
    #[inline]
    #[must_use]
    pub fn new(buffer: &'a D::Buffer, range: Range<usize>) -> Self {
        let span = Span::new(&range);
        Self { buffer, span }
    }

    /// The first `length` floats of a buffer.
    #[inline]
    #[must_use]
    pub fn first(buffer: &'a D::Buffer, length: usize) -> Self {
        Self::new(buffer, 0..length)
    }

    span_methods!();
}

/// Consecutive floats of a [`Buffer`](DeviceTypes::Buffer), to write.
#[derive(Debug)]
pub struct SliceMut<'a, D: DeviceTypes> {
    pub(crate) buffer: &'a mut D::Buffer,
    pub(crate) span: Span,
}

impl<'a, D: DeviceTypes> SliceMut<'a, D> {
    /// This range of a buffer, in floats. Operations panic where the buffer is shorter.
    #[inline]
    #[must_use]
    pub fn new(buffer: &'a mut D::Buffer, range: Range<usize>) -> Self {
        let span = Span::new(&range);
        Self { buffer, span }
    }

    /// The first `length` floats of a buffer.
    #[inline]
    #[must_use]
    pub fn first(buffer: &'a mut D::Buffer, length: usize) -> Self {
        Self::new(buffer, 0..length)
    }

    span_methods!();

    /// The same slice with a shorter lifetime.
    #[inline]
    #[must_use]
    pub fn reborrow(&mut self) -> SliceMut<'_, D> {
        SliceMut {
            buffer: self.buffer,
            span: self.span,
        }
    }

    /// The same slice, for reading.
    #[inline]
    #[must_use]
    pub fn read(&self) -> Slice<'_, D> {
        Slice {
            buffer: self.buffer,
            span: self.span,
        }
    }

    /// The same slice, to read from now on.
    #[inline]
    #[must_use]
    pub fn into_read(self) -> Slice<'a, D> {
        let range = self.range();
        Slice::new(self.buffer, range)
    }
}

/// Two slices of one buffer that do not overlap, to write both.
#[derive(Debug)]
pub struct PairMut<'a, D: DeviceTypes> {
    pub(crate) buffer: &'a mut D::Buffer,
    pub(crate) ranges: [Range<usize>; 2],
}

impl<'a, D: DeviceTypes> PairMut<'a, D> {
    /// Two ranges of a buffer, in floats.
    ///
    /// # Panics
    /// If they overlap.
    #[must_use]
    pub fn new(buffer: &'a mut D::Buffer, ranges: [Range<usize>; 2]) -> Self {
        let [a, b] = &ranges;
        assert!(
            a.end <= b.start || b.end <= a.start,
            "two slices that do not overlap"
        );
        Self { buffer, ranges }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cpu, Memory};

    #[test]
    fn parts_lie_in_their_slices() {
        let mut buffer = Cpu.zeroed(20);
        let mut all = SliceMut::<Cpu>::new(&mut buffer, 3..13);
        assert_eq!(all.reborrow().part(2..5).range(), 5..8);
        assert_eq!(all.read().part(10..10).range(), 13..13);
    }

    #[test]
    #[should_panic(expected = "3..11 of 10 numbers")]
    fn a_part_ends_where_its_slice_ends() {
        let buffer = Cpu.zeroed(20);
        let _ = Slice::<Cpu>::first(&buffer, 10).part(3..11);
    }

    #[test]
    #[should_panic(expected = "do not overlap")]
    fn two_slices_to_write_do_not_overlap() {
        let mut buffer = Cpu.zeroed(20);
        let _ = PairMut::<Cpu>::new(&mut buffer, [0..5, 4..9]);
    }
}
