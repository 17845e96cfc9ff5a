//! Matrix products on strided views: small ones, and those of lesser processors, by the `gemm` crate;
//! large ones, and those of bf16 operands, by ours.

use super::matmul_bf16::matmul_bf16;
use super::pack::Vectors;
use super::simd::{Isa, isa};
use super::split::over_rows;
use super::widened::{self, Layout};
use super::{Buffer, Numbers};
use crate::{Precision, Write};
use gemm::Parallelism;
use std::ops::Range;

/// A matrix to read: `rows` × `columns` with these strides, in numbers.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    data: Numbers<'a>,
    rows: usize,
    columns: usize,
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

    /// One entry.
    pub(crate) fn at(&self, row: usize, column: usize) -> f32 {
        self.data
            .at(row * self.row_stride + column * self.column_stride)
    }

    /// What it is made of.
    pub(crate) fn data(&self) -> Numbers<'a> {
        self.data
    }

    /// Whether the entries of a column lie side by side, and not those of a row.
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

    /// A row-major copy in f32, of which `finish` makes each row what it is to be.
    pub(crate) fn by_rows<'b>(
        &self,
        to: &'b mut Buffer,
        finish: impl Fn(&mut [f32]) + Sync,
    ) -> View<'b> {
        let to = to.at_least(self.rows * self.columns);
        over_rows(to, self.columns, |first, to| {
            for (i, to) in to.chunks_exact_mut(self.columns).enumerate() {
                self.copy_row(first + i, to);
                finish(to);
            }
        });
        View::new(to, self.columns)
    }

    fn copy_row(&self, row: usize, to: &mut [f32]) {
        match self.across() {
            false => self.data.copy(row * self.row_stride, to),
            true => {
                let to = to.iter_mut().enumerate();
                to.for_each(|(column, to)| *to = self.at(row, column));
            }
        }
    }

    /// Its rows as vectors.
    pub(crate) fn vectors(&self) -> Vectors<Numbers<'a>> {
        Vectors {
            data: self.data,
            apart: self.row_stride,
            along: self.column_stride,
        }
    }

    /// The transpose; nothing moves.
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

/// `c` ← (`c` +) `scale`·`a`·`b`, with all threads; `c` is row-major and contiguous. The result
/// does not depend on the number of threads.
///
/// # Panics
/// If the shapes do not fit.
pub fn matmul(
    precision: Precision,
    c: &mut [f32],
    into: Write,
    scale: f32,
    a: View<'_>,
    b: View<'_>,
) {
    assert_eq!(a.columns, b.rows, "inner sizes of a product");
    assert_eq!(c.len(), a.rows * b.columns, "size of a product");
    if c.is_empty() {
        return;
    }
    assert!(a.columns > 0, "a product of something");
    match precision {
        Precision::F32 => multiply_on(isa(), c, into, scale, a, b),
        Precision::Bf16 => matmul_bf16(c, into, scale, a, b),
    }
}

fn multiply_on(isa: Isa, c: &mut [f32], into: Write, scale: f32, a: View<'_>, b: View<'_>) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Bf16 | Isa::Avx512
            if a.rows.min(a.columns).min(b.columns) >= super::tiles::MANY =>
        {
            super::tiles::multiply(Precision::F32, c, into, scale, a, b);
        }
        _ => widened::multiply(Layout::AsItWas, c, into, scale, a, b),
    }
}

/// [`matmul`] of f32 operands as they are; rows of `c` lie `c_stride` apart.
///
/// # Panics
/// If `c` is too short, or an operand is held in bf16.
pub(super) fn matmul_f32(
    c: &mut [f32],
    c_stride: usize,
    into: Write,
    scale: f32,
    a: View<'_>,
    b: View<'_>,
) {
    let threads = rayon::current_num_threads();
    let parallelism = if threads > 1 {
        Parallelism::Rayon(threads)
    } else {
        Parallelism::None
    };
    let (m, n, k) = (a.rows, b.columns, a.columns);
    assert!(n <= c_stride && (m - 1) * c_stride + n <= c.len());
    let operand = |x: View<'_>| match x.data {
        Numbers::F32(data) => Operand {
            start: data.as_ptr(),
            row_stride: x.row_stride,
            column_stride: x.column_stride,
        },
        Numbers::Bf16(_) => unreachable!("widened before"),
    };
    let (a, b) = (operand(a), operand(b));
    // SAFETY: the views lie within their data, `c` has m rows of n, and `&mut` keeps it apart.
    #[allow(unsafe_code)]
    unsafe {
        let sizes = [m, n, k];
        raw(
            parallelism,
            sizes,
            c.as_mut_ptr(),
            c_stride,
            into,
            scale,
            a,
            b,
        );
    }
}

/// A strided matrix without its extent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operand {
    /// Its first entry.
    pub(crate) start: *const f32,
    /// Floats between rows.
    pub(crate) row_stride: usize,
    /// Floats between columns.
    pub(crate) column_stride: usize,
}

impl Operand {
    /// A matrix whose rows lie `row_stride` apart.
    pub(crate) fn rows(start: *const f32, row_stride: usize) -> Self {
        Self {
            start,
            row_stride,
            column_stride: 1,
        }
    }

    /// The transpose.
    pub(crate) fn t(self) -> Self {
        Self {
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// As [`matmul`], on raw views of sizes [m, n, k]; rows of `c` lie `c_stride` apart.
///
/// # Safety
/// Every entry of the three views is in bounds of live memory, `c`'s are written by nobody else
/// and are not among those of `a` or `b`.
#[allow(unsafe_code, clippy::too_many_arguments)]
pub(crate) unsafe fn raw(
    parallelism: Parallelism,
    [m, n, k]: [usize; 3],
    c: *mut f32,
    c_stride: usize,
    into: Write,
    scale: f32,
    a: Operand,
    b: Operand,
) {
    // SAFETY: the caller's promise.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c,
            1,
            c_stride as isize,
            into == Write::Add,
            a.start,
            a.column_stride as isize,
            a.row_stride as isize,
            b.start,
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::split::on_threads;
    use crate::cpu::testing::numbers;

    #[test]
    fn products_of_odd_sizes_and_transposes() {
        for [m, n, k] in [[1, 1, 1], [3, 5, 7], [17, 33, 65], [1, 40, 9], [40, 1, 9]] {
            let (a, b, c) = (
                numbers(m * k, 0.1),
                numbers(k * n, 0.2),
                numbers(m * n, 0.3),
            );
            let mut at = vec![0.0; m * k];
            (0..m * k).for_each(|i| at[i % k * m + i / k] = a[i]);
            for (into, a_view) in [
                (Write::Over, View::new(&a, k)),
                (Write::Add, View::new(&at, m).t()),
            ] {
                let mut got = c.clone();
                matmul_f32(&mut got, n, into, 0.5, a_view, View::new(&b, n));
                for i in 0..m * n {
                    let (row, column) = (i / n, i % n);
                    let term = |j: usize| f64::from(a[row * k + j]) * f64::from(b[j * n + column]);
                    let product: f64 = (0..k).map(term).sum();
                    let old = if into == Write::Add {
                        f64::from(c[i])
                    } else {
                        0.0
                    };
                    assert!((f64::from(got[i]) - old - 0.5 * product).abs() < 1e-5);
                }
            }
        }
    }

    #[test]
    fn the_same_for_any_number_of_threads() {
        let (m, n, k) = (150, 170, 300);
        let (a, b) = (numbers(m * k, 0.1), numbers(k * n, 0.2));
        let run = |threads| {
            let mut c = vec![0.0; m * n];
            on_threads(threads, || {
                matmul_f32(
                    &mut c,
                    n,
                    Write::Over,
                    1.0,
                    View::new(&a, k),
                    View::new(&b, n),
                )
            });
            c
        };
        assert_eq!(run(1), run(2));
        assert_eq!(run(1), run(3));
    }
}
