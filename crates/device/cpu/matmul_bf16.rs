//! Matrix products of operands rounded to bf16, with f32 sums.
//!
//! With avx512_bf16 a kernel of this crate computes them. Without it, operands are rounded and multiplied in f32.
//! Both round in the same way, but add in another order.

use super::precision::bf16_round;
use super::simd::{Isa, isa};
use super::view::View;
use super::widened::{self, Layout};
use super::{Buffer, Numbers};
use crate::Write;
use std::cell::RefCell;

thread_local! {
    /// Both operands, rounded.
    static SCRATCH: RefCell<(Buffer, Buffer)> = RefCell::default();
}

/// `c` ← (`c` +) `scale`·`a`·`b`, of rounded operands; sizes have been checked.
pub(super) fn matmul_bf16(c: &mut [f32], into: Write, scale: f32, a: View<'_>, b: View<'_>) {
    multiply_on(isa(), c, into, scale, a, b);
}

fn multiply_on(isa: Isa, c: &mut [f32], into: Write, scale: f32, a: View<'_>, b: View<'_>) {
    match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Bf16 => {
            super::tiles::multiply(crate::Precision::Bf16, c, into, scale, a, b);
        }
        _ => {
            // The buffers are taken, not borrowed: a thread that waits in rayon may start another product.
            let (mut left, mut right) = SCRATCH.take();
            let (x, y) = (rounded(a, &mut left), rounded(b, &mut right));
            widened::multiply(Layout::ByRows, c, into, scale, x, y);
            SCRATCH.set((left, right));
        }
    }
}

/// A rounded row-major copy. A matrix stored in bf16 is not copied.
fn rounded<'a>(x: View<'a>, to: &'a mut Buffer) -> View<'a> {
    if let Numbers::Bf16(_) = x.data() {
        return x;
    }
    x.by_rows(to, |row| row.iter_mut().for_each(|x| *x = bf16_round(*x)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::numbers::words;
    use crate::cpu::simd::all;
    use crate::cpu::split::on_threads;
    use crate::cpu::testing::{numbers, transposed};

    /// Sizes below and above those of tiles, panels and blocks.
    const SIZES: [[usize; 3]; 8] = [
        [1, 1, 1],
        [3, 5, 7],
        [9, 49, 33],
        [17, 130, 65],
        [1, 40, 9],
        [130, 1, 513],
        [140, 490, 1030],
        [8, 48, 512],
    ];

    /// Every instruction set against f64 sums: of rounded operands within the error of f32, and of the original
    /// operands within that of bf16.
    #[test]
    fn products_of_rounded_operands() {
        for [m, n, k] in SIZES {
            let (a, b) = (numbers(m * k, 0.1), numbers(k * n, 0.2));
            let (at, bt) = (transposed(&a, k), transposed(&b, n));
            let old = numbers(m * n, 0.3);
            let views = [
                (View::new(&a, k), View::new(&b, n), Write::Over),
                (View::new(&at, m).t(), View::new(&b, n), Write::Add),
                (View::new(&a, k), View::new(&bt, k).t(), Write::Add),
                (View::new(&at, m).t(), View::new(&bt, k).t(), Write::Over),
            ];
            for (isa, (a_view, b_view, into)) in
                all().into_iter().flat_map(|isa| views.map(|v| (isa, v)))
            {
                let mut c = old.clone();
                multiply_on(isa, &mut c, into, 0.5, a_view, b_view);
                for i in (0..m * n).step_by(1 + m * n / 700) {
                    let before = if into == Write::Add { old[i] } else { 0.0 };
                    let sum = |round: fn(f32) -> f32| -> (f64, f64) {
                        let terms = (0..k).map(|j| {
                            let (x, y) = (a[i / n * k + j], b[j * n + i % n]);
                            f64::from(round(x)) * f64::from(round(y))
                        });
                        terms.fold((0.0, 0.0), |(sum, size), x| (sum + x, size + x.abs()))
                    };
                    let got = f64::from(c[i] - before);
                    let (want, size) = sum(bf16_round);
                    let error = (got - 0.5 * want).abs();
                    assert!(
                        error < 1e-6 * (1.0 + size),
                        "{isa:?} {m} {n} {k}: {got} {want}"
                    );
                    // The relative error of each operand is at most 2⁻⁸, and the product is scaled by 0.5.
                    let (exact, size) = sum(|x| x);
                    assert!((got - 0.5 * exact).abs() < 1e-6 + 0.5 * size * 2.01 / 256.0);
                }
            }
        }
    }

    /// Operands stored in bf16, in both layouts, give the same bits as f32 ones.
    #[test]
    fn products_of_what_is_held_rounded() {
        for [m, n, k] in SIZES {
            let (a, b) = (numbers(m * k, 0.1), numbers(k * n, 0.2));
            let (at, bt) = (transposed(&a, k), transposed(&b, n));
            let old = numbers(m * n, 0.3);
            let held = [&a, &b, &at, &bt].map(|x| words(x));
            let held = |i: usize| Numbers::Bf16(&held[i]);
            let left = [
                (View::new(&a, k), View::of(held(0), k)),
                (View::new(&at, m).t(), View::of(held(2), m).t()),
            ];
            let right = [
                (View::new(&b, n), View::of(held(1), n)),
                (View::new(&bt, k).t(), View::of(held(3), k).t()),
            ];
            for isa in all() {
                for (a, b) in left.iter().flat_map(|a| right.map(|b| (*a, b))) {
                    for into in [Write::Over, Write::Add] {
                        let run = |a, b| {
                            let mut c = old.clone();
                            multiply_on(isa, &mut c, into, 0.5, a, b);
                            c
                        };
                        let want = run(a.0, b.0);
                        assert!(run(a.0, b.1) == want, "{isa:?} {m} {n} {k}");
                        assert!(run(a.1, b.0) == want, "{isa:?} {m} {n} {k}");
                        assert!(run(a.1, b.1) == want, "{isa:?} {m} {n} {k}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_same_for_any_number_of_threads() {
        let (m, n, k) = (150, 1000, 600);
        let (a, b) = (numbers(m * k, 0.1), numbers(k * n, 0.2));
        let run = |threads| {
            let mut c = vec![0.0; m * n];
            on_threads(threads, || {
                matmul_bf16(&mut c, Write::Over, 1.0, View::new(&a, k), View::new(&b, n));
            });
            c
        };
        assert_eq!(run(1), run(2));
        assert_eq!(run(1), run(3));
    }
}
