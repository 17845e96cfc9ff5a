//! A range of columns of a row-major matrix on the host.

use super::split::over_rows;
use std::ops::Range;

/// Columns to read.
#[derive(Debug, Clone, Copy)]
pub struct HostColumns<'a> {
    data: &'a [f32],
    row_width: usize,
    first: usize,
    width: usize,
}

impl<'a> HostColumns<'a> {
    /// These columns of a matrix [n, `row_width`], whose sizes have been checked.
    #[must_use]
    pub fn new(data: &'a [f32], row_width: usize, columns: &Range<usize>) -> Self {
        Self {
            data,
            row_width,
            first: columns.start,
            width: columns.len(),
        }
    }

    /// The number of rows.
    #[inline(always)]
    pub(super) fn rows(self) -> usize {
        self.data.len() / self.row_width
    }

    /// The number of columns.
    #[inline(always)]
    pub(super) fn width(self) -> usize {
        self.width
    }

    /// The chosen columns of one row.
    #[inline(always)]
    pub(super) fn row(self, row: usize) -> &'a [f32] {
        &self.data[row * self.row_width + self.first..][..self.width]
    }
}

/// Columns to write.
#[derive(Debug)]
pub struct HostColumnsMut<'a> {
    data: &'a mut [f32],
    row_width: usize,
    first: usize,
    width: usize,
}

impl<'a> HostColumnsMut<'a> {
    /// These columns of a matrix [n, `row_width`], whose sizes have been checked.
    #[must_use]
    pub fn new(data: &'a mut [f32], row_width: usize, columns: &Range<usize>) -> Self {
        Self {
            data,
            row_width,
            first: columns.start,
            width: columns.len(),
        }
    }

    /// The same columns, for reading.
    pub(super) fn read(&self) -> HostColumns<'_> {
        HostColumns {
            data: self.data,
            row_width: self.row_width,
            first: self.first,
            width: self.width,
        }
    }

    /// Panics unless `x` has as many rows and columns.
    pub(super) fn check_like(&self, x: HostColumns<'_>) {
        let here = self.read();
        assert_eq!(
            (here.rows(), here.width),
            (x.rows(), x.width),
            "rows and columns"
        );
    }

    /// Runs `task(row, its chosen columns)` for every row, on all threads.
    pub(super) fn for_each_row(self, task: impl Fn(usize, &mut [f32]) + Sync) {
        let columns = self.first..self.first + self.width;
        over_rows(self.data, self.row_width, |first, rows| {
            for (i, row) in rows.chunks_exact_mut(self.row_width).enumerate() {
                task(first + i, &mut row[columns.clone()]);
            }
        });
    }
}
