//! Products in f32 of matrices stored in bf16, which are widened piece by piece to bound the memory.

use super::gemm_f32::matmul_f32;
use super::view::View;
use super::{Buffer, Numbers};
use crate::Write;
use std::cell::RefCell;
use std::ops::Range;

/// Floats of an operand widened at a time (16 MiB).
const PIECE: usize = 1 << 22;
/// The least number of rows or columns of a piece. The `gemm` crate computes products of at most 16 × 16 numbers by
/// other kernels, which round differently, so no piece of a larger product may be that small.
const LEAST: usize = 512;

/// The layout of a widened operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Layout {
    /// That of the operand.
    AsItWas,
    /// Row-major.
    ByRows,
}

thread_local! {
    /// A piece of each operand.
    static SCRATCH: RefCell<(Buffer, Buffer)> = RefCell::default();
}

/// `c` ← (`c` +) `scale`·`a`·`b`; sizes have been checked. The bits are those of a product of f32
/// operands in that layout.
pub(super) fn multiply(
    layout: Layout,
    c: &mut [f32],
    into: Write,
    scale: f32,
    a: View<'_>,
    b: View<'_>,
) {
    let n = b.columns();
    // The buffers are taken, not borrowed: a thread that waits in rayon may start another product.
    let (mut left, mut right) = SCRATCH.take();
    for rows in pieces(a) {
        let a = widen(layout, a.some_rows(&rows), &mut left);
        let c = &mut c[rows.start * n..rows.end * n];
        for columns in pieces(b.t()) {
            let b = widen(layout, b.t().some_rows(&columns).t(), &mut right);
            matmul_f32(&mut c[columns.start..], n, into, scale, a, b);
        }
    }
    SCRATCH.set((left, right));
}

/// The pieces of rows that are widened at a time, about equal in size. An f32 matrix is one piece.
fn pieces(x: View<'_>) -> impl Iterator<Item = Range<usize>> {
    let rows = x.rows();
    let count = match x.data() {
        Numbers::F32(_) => 1,
        Numbers::Bf16(_) => (rows * x.columns())
            .div_ceil(PIECE)
            .min(rows / LEAST)
            .max(1),
    };
    (0..count).map(move |i| rows * i / count..rows * (i + 1) / count)
}

/// The matrix in f32.
fn widen<'a>(layout: Layout, x: View<'a>, to: &'a mut Buffer) -> View<'a> {
    if let Numbers::F32(_) = x.data() {
        return x;
    }
    if layout == Layout::AsItWas && x.across() {
        return widen(layout, x.t(), to).t();
    }
    x.by_rows(to, |_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::numbers::words;
    use crate::cpu::precision::bf16_round;
    use crate::cpu::testing::numbers;

    /// A row-major matrix, or the transpose of one.
    fn turned(x: Numbers<'_>, [rows, columns]: [usize; 2], transposed: bool) -> View<'_> {
        if transposed {
            View::of(x, rows).t()
        } else {
            View::of(x, columns)
        }
    }

    /// Sizes of one piece and of several, including vectors.
    #[test]
    fn pieces_are_the_whole_product_to_the_last_bit() {
        let small = [
            [1, 1, 1],
            [3, 5, 7],
            [17, 130, 65],
            [1, 40, 9],
            [130, 1, 513],
        ];
        let large = [[3, 1100, 9000], [1, 1100, 9000], [1100, 2, 9000]];
        for [m, n, k] in small.into_iter().chain(large) {
            let (a, b) = (numbers(m * k, 0.1), numbers(k * n, 0.2));
            let old = numbers(m * n, 0.3);
            let rounded = |x: &[f32]| x.iter().map(|x| bf16_round(*x)).collect::<Vec<_>>();
            let (words, rounded) = ([&a, &b].map(|x| words(x)), [&a, &b].map(|x| rounded(x)));
            let [f32_a, f32_b] = [&rounded[0], &rounded[1]].map(|x| Numbers::F32(x));
            let [bf16_a, bf16_b] = [&words[0], &words[1]].map(|x| Numbers::Bf16(x));
            for [of_a, of_b] in [[false, false], [false, true], [true, false], [true, true]] {
                for into in [Write::Over, Write::Add] {
                    let run = |a, b| {
                        let mut c = old.clone();
                        let (a, b) = (turned(a, [m, k], of_a), turned(b, [k, n], of_b));
                        multiply(Layout::AsItWas, &mut c, into, 0.5, a, b);
                        c
                    };
                    let want = run(f32_a, f32_b);
                    for (a, b) in [(f32_a, bf16_b), (bf16_a, f32_b), (bf16_a, bf16_b)] {
                        assert!(run(a, b) == want, "{m} {n} {k} {of_a} {of_b} {into:?}");
                    }
                }
            }
        }
    }
}
