//! A range of columns of a row-major matrix: the operands of normalizations.

use crate::{DeviceTypes, Slice, SliceMut};
use std::ops::Range;

/// Columns to read.
#[derive(Debug)]
pub struct Columns<'a, D: DeviceTypes> {
    pub(crate) data: Slice<'a, D>,
    pub(crate) row_width: usize,
    pub(crate) columns: Range<usize>,
}

impl<D: DeviceTypes> Clone for Columns<'_, D> {
    fn clone(&self) -> Self {
        Self {
            columns: self.columns.clone(),
            ..*self
        }
    }
}

impl<'a, D: DeviceTypes> Columns<'a, D> {
    /// These columns of a matrix [n, `row_width`].
    ///
    /// # Panics
    /// If the numbers are not whole rows, or the columns are beyond a row.
    #[must_use]
    pub fn new(data: Slice<'a, D>, row_width: usize, columns: Range<usize>) -> Self {
        check(data.len(), row_width, &columns);
        Self {
            data,
            row_width,
            columns,
        }
    }

    /// All columns of a matrix [n, `row_width`].
    ///
    /// # Panics
    /// If the numbers are not whole rows.
    #[must_use]
    pub fn all(data: Slice<'a, D>, row_width: usize) -> Self {
        Self::new(data, row_width, 0..row_width)
    }
}

/// Columns to write.
#[derive(Debug)]
pub struct ColumnsMut<'a, D: DeviceTypes> {
    pub(crate) data: SliceMut<'a, D>,
    pub(crate) row_width: usize,
    pub(crate) columns: Range<usize>,
}

impl<'a, D: DeviceTypes> ColumnsMut<'a, D> {
    /// These columns of a matrix [n, `row_width`].
    ///
    /// # Panics
    /// If the numbers are not whole rows, or the columns are beyond a row.
    #[must_use]
    pub fn new(data: SliceMut<'a, D>, row_width: usize, columns: Range<usize>) -> Self {
        check(data.len(), row_width, &columns);
        Self {
            data,
            row_width,
            columns,
        }
    }

    /// All columns of a matrix [n, `row_width`].
    ///
    /// # Panics
    /// If the numbers are not whole rows.
    #[must_use]
    pub fn all(data: SliceMut<'a, D>, row_width: usize) -> Self {
        Self::new(data, row_width, 0..row_width)
    }
}

fn check(length: usize, row_width: usize, columns: &Range<usize>) {
    assert!(
        row_width > 0 && length.is_multiple_of(row_width),
        "{length} numbers are not whole rows of {row_width}"
    );
    assert!(
        columns.start < columns.end && columns.end <= row_width,
        "columns {columns:?} of rows of {row_width}"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cpu, Memory};

    #[test]
    #[should_panic(expected = "columns 3..6 of rows of 5")]
    fn columns_end_where_their_rows_end() {
        let buffer = Cpu.zeroed(20);
        let _ = Columns::<Cpu>::new(Slice::first(&buffer, 20), 5, 3..6);
    }

    #[test]
    #[should_panic(expected = "19 numbers are not whole rows of 5")]
    fn rows_are_whole() {
        let mut buffer = Cpu.zeroed(20);
        let _ = ColumnsMut::<Cpu>::all(SliceMut::first(&mut buffer, 19), 5);
    }
}
