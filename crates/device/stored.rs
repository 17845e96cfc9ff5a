//! Numbers of either type in a device's memory.

use crate::span::{Span, span_methods};
use crate::{DeviceTypes, Slice};
use std::ops::Range;

/// How numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// One number in each float.
    F32,
    /// bf16, two numbers in each float: the upper half of the f32 of the same value.
    Bf16,
}

/// Consecutive numbers of either type, to read.
#[derive(Debug)]
pub struct Stored<'a, D: DeviceTypes> {
    pub(crate) buffer: &'a D::Buffer,
    dtype: Dtype,
    span: Span,
}

impl<D: DeviceTypes> Clone for Stored<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: DeviceTypes> Copy for Stored<'_, D> {}

impl<'a, D: DeviceTypes> Stored<'a, D> {
    /// This range of a buffer, counted in numbers of `dtype`.
    #[inline]
    #[must_use]
    pub fn new(buffer: &'a D::Buffer, dtype: Dtype, range: Range<usize>) -> Self {
        Self {
            buffer,
            dtype,
            span: Span::new(&range),
        }
    }

    /// Their type.
    #[inline]
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    span_methods!();

    /// The floats, if they are f32.
    #[inline]
    #[must_use]
    pub fn floats(&self) -> Option<Slice<'a, D>> {
        match self.dtype {
            Dtype::F32 => Some(Slice::new(self.buffer, self.range())),
            Dtype::Bf16 => None,
        }
    }
}

impl<'a, D: DeviceTypes> From<Slice<'a, D>> for Stored<'a, D> {
    #[inline]
    fn from(slice: Slice<'a, D>) -> Self {
        Self {
            buffer: slice.buffer,
            dtype: Dtype::F32,
            span: slice.span,
        }
    }
}

/// Consecutive numbers of either type, to write.
#[derive(Debug)]
pub struct StoredMut<'a, D: DeviceTypes> {
    pub(crate) buffer: &'a mut D::Buffer,
    dtype: Dtype,
    span: Span,
}

impl<'a, D: DeviceTypes> StoredMut<'a, D> {
    /// This range of a buffer, counted in numbers of `dtype`.
    #[inline]
    #[must_use]
    pub fn new(buffer: &'a mut D::Buffer, dtype: Dtype, range: Range<usize>) -> Self {
        Self {
            buffer,
            dtype,
            span: Span::new(&range),
        }
    }

    /// Their type.
    #[inline]
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    span_methods!();
}

/// A matrix to read: row-major, or the transpose of one that is.
#[derive(Debug)]
pub struct Matrix<'a, D: DeviceTypes> {
    pub(crate) data: Stored<'a, D>,
    /// The length of a row as it is stored.
    pub(crate) stored_columns: usize,
    pub(crate) transposed: bool,
}

impl<D: DeviceTypes> Clone for Matrix<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: DeviceTypes> Copy for Matrix<'_, D> {}

impl<'a, D: DeviceTypes> Matrix<'a, D> {
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
            stored_columns: columns,
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
            self.data.len() / self.stored_columns
        } else {
            self.stored_columns
        }
    }

    /// The transpose; no number moves.
    #[inline]
    #[must_use]
    pub fn t(self) -> Self {
        Self {
            transposed: !self.transposed,
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cpu, Memory};

    #[test]
    fn parts_are_counted_in_numbers() {
        let mut buffer = Cpu.zeroed(20);
        let words = StoredMut::<Cpu>::new(&mut buffer, Dtype::Bf16, 10..30);
        assert_eq!(words.part(4..6).range(), 14..16);
    }

    #[test]
    fn a_transpose_has_as_many_rows_as_there_were_columns() {
        let buffer = Cpu.zeroed(20);
        let matrix = Matrix::<Cpu>::new(Slice::first(&buffer, 20), 5);
        assert_eq!((matrix.rows(), matrix.columns()), (4, 5));
        assert_eq!((matrix.t().rows(), matrix.t().columns()), (5, 4));
    }
}
