//! Products with AVX-512, in f32 and of operands rounded to bf16. Blocks of both operands are packed once for all
//! threads, except row-major left operands in f32, which need no packing. Tiles of 8 × 48 sums stay in registers.

use super::pack::{Lines, SIDE, Vectors, pack_with};
use super::simd::Isa;
use super::split::Shared;
use super::view::View;
use super::{Buffer, Numbers};
use crate::{Precision, Write};
use rayon::prelude::*;
use std::cell::RefCell;
use std::ops::Range;

/// The number of rows, columns and terms from which on an f32 product is as fast as that of the `gemm` crate, and a
/// quarter faster if the right operand is not row-major. For smaller ones packing costs too much.
pub(super) const MANY: usize = 256;
/// Rows and columns that are packed at a time, which bounds the memory.
const ROWS: usize = 4096;
const COLUMNS: usize = 128 * TILE_COLUMNS;
/// The sums that stay in registers.
const TILE_ROWS: usize = 8;
const TILE_COLUMNS: usize = 3 * SIDE;

/// Lines of words that are summed at a time: 512 numbers, or 1024 in bf16. This and the next two were chosen by
/// measurement.
const DEPTH: usize = 512;
/// Rows and panels of columns of one piece of work: both fit in a core's cache.
const PIECE_ROWS: usize = 128;
const PIECE_PANELS: usize = 4;

/// Rows of a piece, for a block of so many rows and panels: fewer if there would be too few pieces for threads to
/// share evenly.
fn piece_rows(rows: usize, panels: usize) -> usize {
    const PIECES: usize = 16;
    let across = panels.div_ceil(PIECE_PANELS);
    let mut piece = PIECE_ROWS;
    while rows.div_ceil(piece) * across < PIECES && piece > 4 * TILE_ROWS {
        piece /= 2;
    }
    piece
}

thread_local! {
    /// Both operands, packed block by block.
    static SCRATCH: RefCell<(Buffer, Buffer)> = RefCell::default();
}

/// Ranges of `step` up to `end`.
fn blocks(end: usize, step: usize) -> impl Iterator<Item = Range<usize>> {
    (0..end)
        .step_by(step)
        .map(move |start| start..(start + step).min(end))
}

/// `c` ← (`c` +) `scale`·`a`·`b`, of operands rounded to `precision`, for which the processor has
/// instructions. The order of each sum does not depend on the number of threads.
pub(super) fn multiply(
    precision: Precision,
    c: &mut [f32],
    into: Write,
    scale: f32,
    a: View<'_>,
    b: View<'_>,
) {
    // The buffers are taken, not borrowed: a thread that waits in rayon may start another product.
    let (mut left, mut right) = SCRATCH.take();
    let (m, n, k) = (a.rows(), b.columns(), a.columns());
    let c = Shared::new(c);
    let depth = precision.entries() * DEPTH;
    for columns in blocks(n, COLUMNS) {
        for terms in blocks(k, depth) {
            let write = if terms.start == 0 { into } else { Write::Add };
            let right = pack(
                precision,
                b.t().vectors(),
                [&columns, &terms],
                TILE_COLUMNS,
                &mut right,
            );
            for rows in blocks(m, ROWS) {
                let left = match as_it_is(precision, a.vectors(), [&rows, &terms]) {
                    Some(rows) => rows,
                    None => {
                        let which = [&rows, &terms];
                        Left::Panels(pack(precision, a.vectors(), which, SIDE, &mut left))
                    }
                };
                let block = Block {
                    precision,
                    left,
                    right,
                    depth: precision.words(terms.len()),
                    rows,
                    columns: columns.clone(),
                    c,
                    stride: n,
                    write,
                    scale,
                };
                block.multiply();
            }
        }
    }
    SCRATCH.set((left, right));
}

/// The rows of a left operand.
#[derive(Debug, Clone, Copy)]
enum Left<'a> {
    /// Packed, sixteen side by side.
    Panels(&'a [u32]),
    /// In place, so many words apart.
    Rows(&'a [u32], usize),
}

/// Some entries of some rows in place, if they are contiguous f32 numbers. The kernel broadcasts each number from
/// memory, so packing would gain nothing.
fn as_it_is<'a>(
    precision: Precision,
    x: Vectors<Numbers<'a>>,
    [rows, entries]: [&Range<usize>; 2],
) -> Option<Left<'a>> {
    let x = x.from(rows.start, entries.start);
    match (precision, x.data, x.along) {
        (Precision::F32, Numbers::F32(data), 1) => {
            let words = (rows.len() - 1) * x.apart + entries.len();
            Some(Left::Rows(bytemuck::cast_slice(&data[..words]), x.apart))
        }
        _ => None,
    }
}

/// Packs some entries of some vectors into panels of `width` vectors, each [words, width].
#[allow(unsafe_code)]
fn pack<'a>(
    precision: Precision,
    x: Vectors<Numbers<'_>>,
    [vectors, entries]: [&Range<usize>; 2],
    width: usize,
    to: &'a mut Buffer,
) -> &'a [u32] {
    let isa = match precision {
        Precision::F32 => Isa::Avx512,
        Precision::Bf16 => Isa::Avx512Bf16,
    };
    let panels = vectors.len().div_ceil(width);
    let to: &mut [u32] = bytemuck::cast_slice_mut(to.at_least(panels * width * DEPTH));
    let words = Shared::new(to);
    let groups = width / SIDE;
    (0..panels * groups).into_par_iter().for_each(|task| {
        let first = (task * SIDE).min(vectors.len());
        let count = (vectors.len() - first).min(SIDE);
        let at = task / groups * width * DEPTH + task % groups * SIDE;
        let x = x.from(vectors.start + first, entries.start);
        let to = Lines {
            start: words.pointer(at),
            stride: width,
        };
        // SAFETY: no other task writes these words; vectors and entries are in bounds; this file is only used
        // after the features were detected.
        unsafe { pack_with(isa, precision, x, count, entries.len(), to) };
    });
    to
}

/// A block of the product, and its operands.
struct Block<'a> {
    precision: Precision,
    left: Left<'a>,
    /// Panels of 48 columns.
    right: &'a [u32],
    /// Words along the sum.
    depth: usize,
    rows: Range<usize>,
    columns: Range<usize>,
    c: Shared<'a>,
    stride: usize,
    write: Write,
    scale: f32,
}

impl Block<'_> {
    fn multiply(&self) {
        let panels = self.columns.len().div_ceil(TILE_COLUMNS);
        let piece = piece_rows(self.rows.len(), panels);
        let across = panels.div_ceil(PIECE_PANELS);
        let down = self.rows.len().div_ceil(piece);
        // Consecutive tasks share their rows, which are then still in the core's cache. Reading many rows again
        // for each task would be limited by memory.
        (0..across * down).into_par_iter().for_each(|task| {
            let first = task % across * PIECE_PANELS;
            let rows = task / across * piece;
            let rows = rows..(rows + piece).min(self.rows.len());
            for row in rows.step_by(TILE_ROWS) {
                for panel in first..(first + PIECE_PANELS).min(panels) {
                    self.tile(row, panel);
                }
            }
        });
    }

    /// The product of eight rows, from `row` on, with one panel of columns.
    #[allow(unsafe_code)]
    fn tile(&self, row: usize, panel: usize) {
        let column = panel * TILE_COLUMNS;
        let (rows, columns) = (
            (self.rows.len() - row).min(TILE_ROWS),
            (self.columns.len() - column).min(TILE_COLUMNS),
        );
        let (left, across, along) = match self.left {
            Left::Panels(words) => (&words[row / SIDE * SIDE * DEPTH + row % SIDE..], 1, SIDE),
            Left::Rows(words, apart) => (&words[row * apart..], apart, 1),
        };
        let right = &self.right[column * DEPTH..];
        assert!(right.len() >= self.depth * TILE_COLUMNS);
        assert!(left.len() > (self.depth - 1) * along + (rows - 1) * across);
        let at = (self.rows.start + row) * self.stride + self.columns.start + column;
        let tile = native::Tile {
            depth: self.depth,
            left: left.as_ptr(),
            across,
            along,
            right: right.as_ptr(),
            c: self.c.pointer(at),
            stride: self.stride,
            rows,
            columns,
            write: self.write,
            scale: self.scale,
        };
        // SAFETY: the operands were just checked; the tile is within `c`, whose size was checked, and no other
        // task writes it; the features were detected.
        unsafe {
            match self.precision {
                Precision::F32 => tile.multiply_numbers(),
                Precision::Bf16 => tile.multiply_pairs(),
            }
        }
    }
}

#[allow(unsafe_code)]
mod native;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::numbers::words;
    use crate::cpu::precision::bf16_round;
    use crate::cpu::simd::all;
    use crate::cpu::split::on_threads;
    use crate::cpu::testing::{self, transposed};

    /// Numbers that bf16 represents exactly.
    fn numbers(n: usize, seed: f32) -> Vec<f32> {
        let numbers = testing::numbers(n, seed).into_iter();
        numbers.map(bf16_round).collect()
    }

    fn run(c: &[f32], into: Write, a: View<'_>, b: View<'_>) -> Vec<f32> {
        let mut c = c.to_vec();
        multiply(Precision::F32, &mut c, into, 0.5, a, b);
        c
    }

    /// Sizes below and above those of tiles, panels, tasks and blocks, in f32. Products of bf16 are tested with their
    /// rounding.
    #[test]
    fn products_from_every_layout() {
        if !all().contains(&Isa::Avx512) {
            return;
        }
        for [m, n, k] in [
            [1, 1, 1],
            [9, 15, 7],
            [16, 33, 513],
            [300, 97, 512],
            [257, 49, 1030],
            [4100, 17, 3],
            [3, 6200, 5],
        ] {
            let (a, b) = (numbers(m * k, 0.1), numbers(k * n, 0.2));
            let (at, bt) = (transposed(&a, k), transposed(&b, n));
            let held = [&a, &b, &at, &bt].map(|x| words(x));
            let held = |i: usize| Numbers::Bf16(&held[i]);
            let left = [
                View::new(&a, k),
                View::new(&at, m).t(),
                View::of(held(0), k),
                View::of(held(2), m).t(),
            ];
            let right = [
                View::new(&b, n),
                View::new(&bt, k).t(),
                View::of(held(1), n),
                View::of(held(3), k).t(),
            ];
            let old = numbers(m * n, 0.3);
            for into in [Write::Over, Write::Add] {
                let first = run(&old, into, left[0], right[0]);
                for i in (0..m * n).step_by(1 + m * n / 500) {
                    let terms = (0..k).map(|j| {
                        let (x, y) = (a[i / n * k + j], b[j * n + i % n]);
                        f64::from(x) * f64::from(y)
                    });
                    let (sum, size) =
                        terms.fold((0.0, 0.0), |(sum, size), x| (sum + x, size + x.abs()));
                    let before = if into == Write::Add { old[i] } else { 0.0 };
                    let error = (f64::from(first[i] - before) - 0.5 * sum).abs();
                    assert!(error < 1e-6 * (1.0 + size), "{m} {n} {k} {into:?}");
                }
                // Every layout and type of the operands gives the same bits.
                for (a, b) in left.iter().flat_map(|a| right.map(|b| (*a, b))) {
                    assert!(run(&old, into, a, b) == first, "{m} {n} {k} {a:?} {b:?}");
                }
            }
        }
    }

    #[test]
    fn the_same_for_any_number_of_threads() {
        if !all().contains(&Isa::Avx512) {
            return;
        }
        let (m, n, k) = (600, 350, 700);
        let (a, b) = (numbers(m * k, 0.1), numbers(k * n, 0.2));
        let run = |threads| {
            on_threads(threads, || {
                let zeros = vec![0.0; m * n];
                run(&zeros, Write::Over, View::new(&a, k), View::new(&b, n))
            })
        };
        assert_eq!(run(1), run(2));
        assert_eq!(run(1), run(3));
    }
}
