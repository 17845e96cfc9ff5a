//! The avx512_bf16 product: blocks of both operands are packed for all threads, and tiles of 8 × 48
//! sums stay in registers.

use super::matmul::{View, Write};
use super::pack::{Lines, SIDE, Vectors, pack_with};
use super::simd::Isa;
use super::split::Shared;
use super::{Buffer, Numbers, Precision};
use rayon::prelude::*;
use std::ops::Range;

/// Terms of the sums of one round, and the words that hold them.
const DEPTH: usize = 512;
const WORDS: usize = DEPTH / 2;
/// Rows and columns packed at a time: what bounds the memory.
const ROWS: usize = 4096;
const COLUMNS: usize = 128 * TILE_COLUMNS;
/// The sums that stay in registers.
const TILE_ROWS: usize = 8;
const TILE_COLUMNS: usize = 3 * SIDE;
/// Rows of one piece of work, and panels of columns, which stay in a core's cache.
const TASK_ROWS: usize = 128;
const TASK_PANELS: usize = 4;

/// Ranges of `step` up to `end`.
fn blocks(end: usize, step: usize) -> impl Iterator<Item = Range<usize>> {
    (0..end)
        .step_by(step)
        .map(move |start| start..(start + step).min(end))
}

/// `c` ← (`c` +) `scale`·`a`·`b`, with memory to pack both operands in. Every sum is taken in the same order whatever the number of threads.
pub(super) fn multiply(
    c: &mut [f32],
    into: Write,
    scale: f32,
    (a, left): (View<'_>, &mut Buffer),
    (b, right): (View<'_>, &mut Buffer),
) {
    let (m, n, k) = (a.rows(), b.columns(), a.columns());
    let c = Shared::new(c);
    for columns in blocks(n, COLUMNS) {
        for terms in blocks(k, DEPTH) {
            let write = if terms.start == 0 { into } else { Write::Add };
            let right = pack(b.t().vectors(), &columns, &terms, TILE_COLUMNS, right);
            for rows in blocks(m, ROWS) {
                let left = pack(a.vectors(), &rows, &terms, SIDE, left);
                let block = Block {
                    left,
                    right,
                    words: terms.len().div_ceil(2),
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
}

/// Packs some entries of some vectors into panels of `width` vectors, each [words, width].
#[allow(unsafe_code)]
fn pack<'a>(
    x: Vectors<Numbers<'_>>,
    vectors: &Range<usize>,
    entries: &Range<usize>,
    width: usize,
    to: &'a mut Buffer,
) -> &'a [u32] {
    let panels = vectors.len().div_ceil(width);
    let to: &mut [u32] = bytemuck::cast_slice_mut(to.at_least(panels * width * WORDS));
    let words = Shared::new(to);
    let groups = width / SIDE;
    (0..panels * groups).into_par_iter().for_each(|task| {
        let first = (task * SIDE).min(vectors.len());
        let count = (vectors.len() - first).min(SIDE);
        let at = task / groups * width * WORDS + task % groups * SIDE;
        let x = x.from(vectors.start + first, entries.start);
        // SAFETY: no other task has these words; vectors and entries are the matrix's; only where
        // the features were found is anything packed.
        unsafe {
            let to = Lines {
                start: words.pointer(at),
                stride: width,
            };
            pack_with(
                Isa::Avx512Bf16,
                Precision::Bf16,
                x,
                count,
                entries.len(),
                to,
            );
        }
    });
    to
}

/// A block of the sums, and what it is made of.
struct Block<'a> {
    /// Panels of 16 rows and of 48 columns.
    left: &'a [u32],
    right: &'a [u32],
    /// Words along the sum.
    words: usize,
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
        let across = panels.div_ceil(TASK_PANELS);
        let down = self.rows.len().div_ceil(TASK_ROWS);
        // Neighbouring tasks share their columns, which a core then has in its cache.
        (0..across * down).into_par_iter().for_each(|task| {
            let first = task / down * TASK_PANELS;
            let rows = task % down * TASK_ROWS;
            let rows = rows..(rows + TASK_ROWS).min(self.rows.len());
            for row in rows.step_by(TILE_ROWS) {
                for panel in first..(first + TASK_PANELS).min(panels) {
                    self.tile(row, panel);
                }
            }
        });
    }

    /// Eight rows from `row` on with one panel of columns.
    #[allow(unsafe_code)]
    fn tile(&self, row: usize, panel: usize) {
        let column = panel * TILE_COLUMNS;
        let left = &self.left[row / SIDE * SIDE * WORDS + row % SIDE..];
        let right = &self.right[column * WORDS..];
        assert!(right.len() >= self.words * TILE_COLUMNS);
        assert!(left.len() >= (self.words - 1) * SIDE + TILE_ROWS);
        let (rows, columns) = (
            (self.rows.len() - row).min(TILE_ROWS),
            (self.columns.len() - column).min(TILE_COLUMNS),
        );
        let at = (self.rows.start + row) * self.stride + self.columns.start + column;
        let tile = native::Tile {
            words: self.words,
            left: left.as_ptr(),
            right: right.as_ptr(),
            c: self.c.pointer(at),
            stride: self.stride,
            rows,
            columns,
            write: self.write,
            scale: self.scale,
        };
        // SAFETY: the operands were just checked; these sums are within `c`, whose size is
        // checked, and no other task has them; the features were found.
        unsafe { tile.multiply() };
    }
}

#[allow(unsafe_code)]
mod native {
    use super::{SIDE, TILE_COLUMNS, TILE_ROWS, Write};
    use std::arch::x86_64::*;
    use std::mem::transmute;

    /// Sums of `rows` ≤ 8 rows and `columns` ≤ 48 columns.
    pub(super) struct Tile {
        pub(super) words: usize,
        pub(super) left: *const u32,
        pub(super) right: *const u32,
        pub(super) c: *mut f32,
        pub(super) stride: usize,
        pub(super) rows: usize,
        pub(super) columns: usize,
        pub(super) write: Write,
        pub(super) scale: f32,
    }

    impl Tile {
        /// # Safety
        /// The operands have as many words, `c` as many rows and columns, which nobody else
        /// touches, and the processor has these features.
        #[target_feature(enable = "avx512f,avx512bf16")]
        pub(super) unsafe fn multiply(&self) {
            // The destination is far away, and asked for last.
            for i in 0..self.rows {
                for j in (0..self.columns).step_by(SIDE) {
                    let at = self.c.wrapping_add(i * self.stride + j);
                    _mm_prefetch::<_MM_HINT_T0>(at.cast_const().cast());
                }
            }
            let mut sums = [[_mm512_setzero_ps(); 3]; TILE_ROWS];
            for p in 0..self.words {
                // SAFETY: the caller's promise.
                unsafe {
                    let right = self.right.add(p * TILE_COLUMNS);
                    let right = [0, 1, 2].map(|i| words(right.add(i * SIDE)));
                    let left = self.left.add(p * SIDE);
                    for (i, sums) in sums.iter_mut().enumerate() {
                        let x = _mm512_set1_epi32((*left.add(i)).cast_signed());
                        let x = transmute::<__m512i, __m512bh>(x);
                        for (sum, right) in sums.iter_mut().zip(right) {
                            *sum = _mm512_dpbf16_ps(*sum, x, right);
                        }
                    }
                }
            }
            let scale = _mm512_set1_ps(self.scale);
            for (i, sums) in sums.iter().enumerate().take(self.rows) {
                for (j, sum) in sums.iter().enumerate() {
                    let left = self.columns.saturating_sub(j * SIDE).min(SIDE);
                    let mask = ((1u32 << left) - 1) as __mmask16;
                    let at = self.c.wrapping_add(i * self.stride + j * SIDE);
                    // SAFETY: the mask leaves out what is beyond the columns.
                    unsafe {
                        let sum = match self.write {
                            Write::Over => _mm512_mul_ps(*sum, scale),
                            Write::Add => {
                                let old = _mm512_maskz_loadu_ps(mask, at);
                                _mm512_fmadd_ps(*sum, scale, old)
                            }
                        };
                        _mm512_mask_storeu_ps(at, mask, sum);
                    }
                }
            }
        }
    }

    /// # Safety
    /// There are sixteen words.
    #[target_feature(enable = "avx512f,avx512bf16")]
    unsafe fn words(start: *const u32) -> __m512bh {
        // SAFETY: the caller's promise.
        unsafe { transmute::<__m512i, __m512bh>(_mm512_loadu_si512(start.cast())) }
    }
}
