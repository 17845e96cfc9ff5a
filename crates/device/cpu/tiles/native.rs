//! One tile of sums, in registers.

use super::{SIDE, TILE_COLUMNS, TILE_ROWS};
use crate::Write;
use std::arch::x86_64::*;
use std::mem::transmute;

/// Sums of `rows` ≤ 8 rows and `columns` ≤ 48 columns.
pub(super) struct Tile {
    pub(super) depth: usize,
    pub(super) left: *const u32,
    /// Words between rows and between the words of a row.
    pub(super) across: usize,
    pub(super) along: usize,
    pub(super) right: *const u32,
    pub(super) c: *mut f32,
    pub(super) stride: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) write: Write,
    pub(super) scale: f32,
}

/// How words are multiplied.
trait Words {
    /// Sixteen of them.
    type Register: Copy;

    /// # Safety
    /// There are sixteen; the processor has what they need.
    unsafe fn load(start: *const u32) -> Self::Register;

    /// # Safety
    /// There is one; the processor has what it needs.
    unsafe fn spread(word: *const u32) -> Self::Register;

    /// # Safety
    /// The processor has what they need.
    unsafe fn add(sum: __m512, left: Self::Register, right: Self::Register) -> __m512;
}

/// Numbers in f32.
struct Singles;

impl Words for Singles {
    type Register = __m512;

    #[inline(always)]
    unsafe fn load(start: *const u32) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_loadu_ps(start.cast()) }
    }

    #[inline(always)]
    unsafe fn spread(word: *const u32) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_set1_ps(*word.cast::<f32>()) }
    }

    #[inline(always)]
    unsafe fn add(sum: __m512, left: __m512, right: __m512) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_fmadd_ps(left, right, sum) }
    }
}

/// Pairs in bf16.
struct Pairs;

impl Words for Pairs {
    type Register = __m512bh;

    #[inline(always)]
    unsafe fn load(start: *const u32) -> __m512bh {
        // SAFETY: the caller's promise.
        unsafe { transmute::<__m512i, __m512bh>(_mm512_loadu_si512(start.cast())) }
    }

    #[inline(always)]
    unsafe fn spread(word: *const u32) -> __m512bh {
        // SAFETY: the caller's promise.
        unsafe { transmute::<__m512i, __m512bh>(_mm512_set1_epi32((*word).cast_signed())) }
    }

    #[inline(always)]
    unsafe fn add(sum: __m512, left: __m512bh, right: __m512bh) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_dpbf16_ps(sum, left, right) }
    }
}

impl Tile {
    /// The product of numbers.
    ///
    /// # Safety
    /// The operands have as many words, `c` as many rows and columns, which nobody else
    /// touches, and the processor has AVX-512F.
    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn multiply_numbers(&self) {
        // SAFETY: the caller's promise.
        unsafe { self.multiply::<Singles>() };
    }

    /// The product of pairs in bf16.
    ///
    /// # Safety
    /// As above, and the processor has avx512_bf16.
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) unsafe fn multiply_pairs(&self) {
        // SAFETY: the caller's promise.
        unsafe { self.multiply::<Pairs>() };
    }

    /// The product of words.
    ///
    /// # Safety
    /// As above, for these words.
    #[inline(always)]
    unsafe fn multiply<W: Words>(&self) {
        // SAFETY: the caller's promise.
        unsafe {
            match self.columns.div_ceil(SIDE) {
                1 => self.registers::<W, 1>(),
                2 => self.registers::<W, 2>(),
                _ => self.registers::<W, 3>(),
            }
        }
    }

    /// The product of so many registers of columns.
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    unsafe fn registers<W: Words, const N: usize>(&self) {
        // SAFETY: the caller's promise; rows that are not there are the last one again.
        unsafe {
            self.ask();
            let row = |i: usize| self.left.add(i.min(self.rows - 1) * self.across);
            let rows: [*const u32; TILE_ROWS] = std::array::from_fn(row);
            let mut sums = [[_mm512_setzero_ps(); N]; TILE_ROWS];
            for p in 0..self.depth {
                let right = self.right.add(p * TILE_COLUMNS);
                let right: [W::Register; N] = std::array::from_fn(|i| W::load(right.add(i * SIDE)));
                for (row, sums) in rows.iter().zip(&mut sums) {
                    let x = W::spread(row.add(p * self.along));
                    for (sum, right) in sums.iter_mut().zip(right) {
                        *sum = W::add(*sum, x, right);
                    }
                }
            }
            self.write(&sums);
        }
    }

    /// Asks for the destination, which is far away and needed last.
    ///
    /// # Safety
    /// The processor has AVX-512F.
    #[inline(always)]
    unsafe fn ask(&self) {
        for i in 0..self.rows {
            for j in (0..self.columns).step_by(SIDE) {
                let at = self.c.wrapping_add(i * self.stride + j);
                // SAFETY: asking touches nothing.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast_const().cast()) };
            }
        }
    }

    /// Scales the sums and writes or adds them.
    ///
    /// # Safety
    /// As above.
    #[inline(always)]
    unsafe fn write<const N: usize>(&self, sums: &[[__m512; N]; TILE_ROWS]) {
        // SAFETY: the caller's promise.
        let scale = unsafe { _mm512_set1_ps(self.scale) };
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
