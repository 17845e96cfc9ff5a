//! Parts of a device's memory: which buffer, and where in it. What the numbers are, only the device
//! says.

use crate::Device;
use std::ops::Range;

/// Numbers to read: consecutive floats of a [`Device::Buffer`].
#[derive(Debug)]
pub struct Slice<'a, D: Device> {
    pub(crate) buffer: &'a D::Buffer,
    start: usize,
    length: usize,
}

impl<D: Device> Clone for Slice<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Device> Copy for Slice<'_, D> {}

impl<'a, D: Device> Slice<'a, D> {
    /// This range of a buffer, in floats. Operations panic where the buffer is shorter.
    #[inline]
    #[must_use]
    pub fn new(buffer: &'a D::Buffer, range: Range<usize>) -> Self {
        Self {
            buffer,
            start: range.start,
            length: range.len(),
        }
    }

    /// The first `length` floats of a buffer.
    #[inline]
    #[must_use]
    pub fn first(buffer: &'a D::Buffer, length: usize) -> Self {
        Self::new(buffer, 0..length)
    }

    /// How many floats there are.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Where it lies in its buffer, in floats.
    #[inline]
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.length
    }

    /// A part of it.
    ///
    /// # Panics
    /// If the range is beyond it.
    #[inline]
    #[must_use]
    pub fn part(self, range: Range<usize>) -> Self {
        let range = within(&range, self.start, self.length);
        Self::new(self.buffer, range)
    }
}

/// Numbers to write: consecutive floats of a [`Device::Buffer`].
#[derive(Debug)]
pub struct SliceMut<'a, D: Device> {
    pub(crate) buffer: &'a mut D::Buffer,
    start: usize,
    length: usize,
}

impl<'a, D: Device> SliceMut<'a, D> {
    /// This range of a buffer, in floats. Operations panic where the buffer is shorter.
    #[inline]
    #[must_use]
    pub fn new(buffer: &'a mut D::Buffer, range: Range<usize>) -> Self {
        Self {
            buffer,
            start: range.start,
            length: range.len(),
        }
    }

    /// The first `length` floats of a buffer.
    #[inline]
    #[must_use]
    pub fn first(buffer: &'a mut D::Buffer, length: usize) -> Self {
        Self::new(buffer, 0..length)
    }

    /// How many floats there are.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Where it lies in its buffer, in floats.
    #[inline]
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.length
    }

    /// A part of it.
    ///
    /// # Panics
    /// If the range is beyond it.
    #[inline]
    #[must_use]
    pub fn part(self, range: Range<usize>) -> Self {
        let range = within(&range, self.start, self.length);
        Self::new(self.buffer, range)
    }

    /// The same slice for a shorter time.
    #[inline]
    #[must_use]
    pub fn reborrow(&mut self) -> SliceMut<'_, D> {
        let range = self.range();
        SliceMut::new(self.buffer, range)
    }

    /// The same slice, to read.
    #[inline]
    #[must_use]
    pub fn read(&self) -> Slice<'_, D> {
        Slice::new(self.buffer, self.range())
    }
}

/// Two slices of one buffer to write at once: they do not overlap.
#[derive(Debug)]
pub struct PairMut<'a, D: Device> {
    pub(crate) buffer: &'a mut D::Buffer,
    pub(crate) ranges: [Range<usize>; 2],
}

impl<'a, D: Device> PairMut<'a, D> {
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

/// How numbers lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// One number in each float.
    F32,
    /// bf16, two numbers in each float: the upper half of the f32 of the same value.
    Bf16,
}

/// Numbers of either type to read.
#[derive(Debug)]
pub struct Stored<'a, D: Device> {
    pub(crate) buffer: &'a D::Buffer,
    dtype: Dtype,
    start: usize,
    length: usize,
}

impl<D: Device> Clone for Stored<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Device> Copy for Stored<'_, D> {}

impl<'a, D: Device> Stored<'a, D> {
    /// This range of a buffer, counted in numbers of `dtype`.
    #[inline]
    #[must_use]
    pub fn new(buffer: &'a D::Buffer, dtype: Dtype, range: Range<usize>) -> Self {
        Self {
            buffer,
            dtype,
            start: range.start,
            length: range.len(),
        }
    }

    /// Their type.
    #[inline]
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// How many there are.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Where they lie in their buffer, counted in numbers.
    #[inline]
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.length
    }

    /// A part of them.
    ///
    /// # Panics
    /// If the range is beyond them.
    #[must_use]
    pub fn part(self, range: Range<usize>) -> Self {
        let range = within(&range, self.start, self.length);
        Self::new(self.buffer, self.dtype, range)
    }

    /// The floats, where they are f32.
    #[inline]
    #[must_use]
    pub fn floats(&self) -> Option<Slice<'a, D>> {
        match self.dtype {
            Dtype::F32 => Some(Slice::new(self.buffer, self.range())),
            Dtype::Bf16 => None,
        }
    }
}

impl<'a, D: Device> From<Slice<'a, D>> for Stored<'a, D> {
    #[inline]
    fn from(slice: Slice<'a, D>) -> Self {
        Self::new(slice.buffer, Dtype::F32, slice.range())
    }
}

/// Numbers of either type to write.
#[derive(Debug)]
pub struct StoredMut<'a, D: Device> {
    pub(crate) buffer: &'a mut D::Buffer,
    dtype: Dtype,
    start: usize,
    length: usize,
}

impl<'a, D: Device> StoredMut<'a, D> {
    /// This range of a buffer, counted in numbers of `dtype`.
    #[inline]
    #[must_use]
    pub fn new(buffer: &'a mut D::Buffer, dtype: Dtype, range: Range<usize>) -> Self {
        Self {
            buffer,
            dtype,
            start: range.start,
            length: range.len(),
        }
    }

    /// Their type.
    #[inline]
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// How many there are.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether there are none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Where they lie in their buffer, counted in numbers.
    #[inline]
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.length
    }

    /// A part of them.
    ///
    /// # Panics
    /// If the range is beyond them.
    #[inline]
    #[must_use]
    pub fn part(self, range: Range<usize>) -> Self {
        let range = within(&range, self.start, self.length);
        Self::new(self.buffer, self.dtype, range)
    }
}

/// A matrix to read: row-major, or the transpose of one that is.
#[derive(Debug)]
pub struct Matrix<'a, D: Device> {
    pub(crate) data: Stored<'a, D>,
    /// Numbers of a stored row.
    pub(crate) columns: usize,
    pub(crate) transposed: bool,
}

impl<D: Device> Clone for Matrix<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Device> Copy for Matrix<'_, D> {}

impl<'a, D: Device> Matrix<'a, D> {
    /// A row-major matrix of `columns` columns.
    ///
    /// # Panics
    /// If the numbers are not whole rows.
    #[inline]
    #[must_use]
    pub fn new(data: impl Into<Stored<'a, D>>, columns: usize) -> Self {
        let data = data.into();
        assert_eq!(data.len() % columns, 0, "a matrix of whole rows");
        Self {
            data,
            columns,
            transposed: false,
        }
    }

    /// The number of rows.
    #[inline]
    #[must_use]
    pub fn rows(&self) -> usize {
        self.t().columns()
    }

    /// The number of columns.
    #[inline]
    #[must_use]
    pub fn columns(&self) -> usize {
        if self.transposed {
            self.data.len() / self.columns
        } else {
            self.columns
        }
    }

    /// The transpose; nothing moves.
    #[inline]
    #[must_use]
    pub fn t(self) -> Self {
        Self {
            transposed: !self.transposed,
            ..self
        }
    }
}

/// `range`, counted from the start of a slice, as a range of its buffer.
#[inline]
fn within(range: &Range<usize>, start: usize, length: usize) -> Range<usize> {
    assert!(
        range.start <= range.end && range.end <= length,
        "{range:?} of {length} numbers"
    );
    start + range.start..start + range.end
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Cpu;

    #[test]
    fn parts_lie_in_their_slices() {
        let mut buffer = Cpu.zeroed(20);
        let mut all = SliceMut::<Cpu>::new(&mut buffer, 3..13);
        assert_eq!(all.reborrow().part(2..5).range(), 5..8);
        assert_eq!(all.read().part(10..10).range(), 13..13);
        let words = StoredMut::<Cpu>::new(&mut buffer, Dtype::Bf16, 10..30);
        assert_eq!(words.part(4..6).range(), 14..16);
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
