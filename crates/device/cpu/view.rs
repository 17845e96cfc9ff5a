//! Views of matrices with any strides and either type of number.

use super::pack::{SIDE, Vectors};
use super::{Buffer, Numbers};
use rayon::prelude::*;
use std::ops::Range;

/// A view of a matrix, `rows` × `columns`.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    data: Numbers<'a>,
    rows: usize,
    columns: usize,
    /// Numbers between rows, and between columns.
    row_stride: usize,
    column_stride: usize,
}

impl<'a> View<'a> {
    /// A row-major matrix.
    ///
    /// # Panics
    /// If the data is not a whole number of rows.
    #[must_use]
    pub fn new(data: &'a [f32], columns: usize) -> Self {
        Self::of(Numbers::F32(data), columns)
    }

    /// A row-major matrix of either type of number.
    ///
    /// # Panics
    /// As [`new`](Self::new).
    #[must_use]
    pub fn of(data: Numbers<'a>, columns: usize) -> Self {
        assert_eq!(data.len() % columns, 0, "a matrix of whole rows");
        Self {
            data,
            rows: data.len() / columns,
            columns,
            row_stride: columns,
            column_stride: 1,
        }
    }

    /// The number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// The number of columns.
    pub(crate) fn columns(&self) -> usize {
        self.columns
    }

    /// The numbers.
    pub(crate) fn data(&self) -> Numbers<'a> {
        self.data
    }

    /// Whether the view is the transpose of a row-major matrix.
    pub(crate) fn across(&self) -> bool {
        self.column_stride != 1
    }

    /// Some of its rows.
    pub(crate) fn some_rows(self, rows: &Range<usize>) -> Self {
        Self {
            data: self.data.from(rows.start * self.row_stride),
            rows: rows.len(),
            ..self
        }
    }

    /// A row-major copy in f32. `finish` is applied to each row of the copy.
    pub(crate) fn by_rows<'b>(
        &self,
        to: &'b mut Buffer,
        finish: impl Fn(&mut [f32]) + Sync,
    ) -> View<'b> {
        let to = to.at_least(self.rows * self.columns);
        let pieces = to.par_chunks_mut(SIDE * self.columns).enumerate();
        pieces.for_each(|(piece, to)| {
            let first = piece * SIDE;
            if self.across() {
                self.transpose(first, to);
            } else {
                for (i, to) in to.chunks_exact_mut(self.columns).enumerate() {
                    self.data.copy((first + i) * self.row_stride, to);
                }
            }
            to.chunks_exact_mut(self.columns).for_each(&finish);
        });
        View::new(to, self.columns)
    }

    /// Copies some rows of the transpose of a row-major matrix, at most sixteen from `first` on, in squares of
    /// sixteen: reading and writing then go along cache lines.
    fn transpose(&self, first: usize, to: &mut [f32]) {
        let rows = to.len() / self.columns;
        let mut square = [[0.0; SIDE]; SIDE];
        for start in (0..self.columns).step_by(SIDE) {
            let count = SIDE.min(self.columns - start);
            for (i, line) in square[..count].iter_mut().enumerate() {
                let from = first * self.row_stride + (start + i) * self.column_stride;
                self.data.copy(from, &mut line[..rows]);
            }
            for (i, to) in to.chunks_exact_mut(self.columns).enumerate() {
                let to = to[start..start + count].iter_mut().zip(&square);
                to.for_each(|(to, line)| *to = line[i]);
            }
        }
    }

    /// The strides: numbers between rows, and between columns.
    pub(crate) fn strides(&self) -> [usize; 2] {
        [self.row_stride, self.column_stride]
    }

    /// Its rows as vectors.
    pub(crate) fn vectors(&self) -> Vectors<Numbers<'a>> {
        Vectors {
            data: self.data,
            apart: self.row_stride,
            along: self.column_stride,
        }
    }

    /// The transpose; no number moves.
    #[must_use]
    pub fn t(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}
