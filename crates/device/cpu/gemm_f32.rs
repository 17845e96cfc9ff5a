//! Matrix products in f32 by the `gemm` crate.

use super::Numbers;
use super::view::View;
use crate::Write;
use gemm::Parallelism;

/// `c` ← (`c` +) `scale`·`a`·`b` of operands in f32, with all threads; rows of `c` lie `c_stride` apart.
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
    let (m, n, k) = (a.rows(), b.columns(), a.columns());
    assert!(n <= c_stride && (m - 1) * c_stride + n <= c.len());
    let operand = |x: View<'_>| match (x.data(), x.strides()) {
        (Numbers::F32(data), [row_stride, column_stride]) => Operand {
            start: data.as_ptr(),
            row_stride,
            column_stride,
        },
        (Numbers::Bf16(_), _) => unreachable!("widened before"),
    };
    let (a, b) = (operand(a), operand(b));
    // SAFETY: the views are within their data, `c` has m rows of n, and `&mut` excludes an overlap.
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

/// The start and strides of a matrix, without its size.
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

/// As [`matmul_f32`], on raw views of sizes [m, n, k]; rows of `c` lie `c_stride` apart.
///
/// # Safety
/// Every entry of the three views is in bounds of live memory. No other thread accesses those of `c`, and
/// they do not overlap those of `a` or `b`.
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
