//! Packing with AVX-512, sixteen words at a time.

use super::{Lines, Numbers, SIDE, Vectors};
use crate::Precision;
use std::arch::x86_64::*;
use std::mem::transmute;

/// The lowest `count` of 32 lanes.
#[inline(always)]
fn first(count: usize) -> __mmask32 {
    ((1u64 << count.min(32)) - 1) as __mmask32
}

/// A number to pack.
pub(super) trait Number: Copy {
    /// Sixteen numbers in f32.
    ///
    /// # Safety
    /// The numbers in the mask are in bounds; the processor has AVX-512F.
    unsafe fn load(mask: __mmask16, start: *const Self) -> __m512i;

    /// Thirty-two numbers in bf16, rounded where they are not yet.
    ///
    /// # Safety
    /// The numbers in the mask are in bounds; the processor has avx512_bf16.
    unsafe fn load_rounded(mask: __mmask32, start: *const Self) -> __m512i;

    /// Sixteen of them.
    ///
    /// # Safety
    /// As above.
    unsafe fn load_half(mask: __mmask16, start: *const Self) -> __m256i;
}

impl Number for f32 {
    #[inline(always)]
    unsafe fn load(mask: __mmask16, start: *const f32) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_maskz_loadu_epi32(mask, start.cast()) }
    }

    #[inline(always)]
    unsafe fn load_rounded(mask: __mmask32, start: *const f32) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe {
            let low = _mm512_maskz_loadu_ps(mask as __mmask16, start);
            let high = (mask >> SIDE) as __mmask16;
            let high = _mm512_maskz_loadu_ps(high, start.wrapping_add(SIDE));
            transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low))
        }
    }

    #[inline(always)]
    unsafe fn load_half(mask: __mmask16, start: *const f32) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe {
            let x = _mm512_maskz_loadu_ps(mask, start);
            transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(x))
        }
    }
}

impl Number for u16 {
    #[inline(always)]
    unsafe fn load(mask: __mmask16, start: *const u16) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe {
            let words = match mask {
                0xffff => _mm256_loadu_si256(start.cast()),
                // Masks of 16-bit lanes are of AVX-512BW, which not all have.
                _ => {
                    let mut words = [0u16; SIDE];
                    let count = (mask.trailing_ones() as usize).min(SIDE);
                    std::ptr::copy_nonoverlapping(start, words.as_mut_ptr(), count);
                    _mm256_loadu_si256(words.as_ptr().cast())
                }
            };
            _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(words))
        }
    }

    #[inline(always)]
    unsafe fn load_rounded(mask: __mmask32, start: *const u16) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { _mm512_maskz_loadu_epi16(mask, start.cast()) }
    }

    #[inline(always)]
    unsafe fn load_half(mask: __mmask16, start: *const u16) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_maskz_loadu_epi16(mask, start.cast()) }
    }
}

/// The content of a word.
pub(super) trait Word {
    /// The precision of the packed numbers.
    const PRECISION: Precision;

    /// The first sixteen words of a vector with `left` entries.
    ///
    /// # Safety
    /// They are in bounds; the processor has the features.
    unsafe fn along<T: Number>(start: *const T, left: usize) -> __m512i;

    /// One word of each vector in the mask, for vectors side by side: their entries are `left` lines that are
    /// `apart` numbers from each other.
    ///
    /// # Safety
    /// As above.
    unsafe fn across<T: Number>(
        mask: __mmask16,
        start: *const T,
        apart: usize,
        left: usize,
    ) -> __m512i;
}

/// A number in f32.
pub(super) struct Single;

impl Word for Single {
    const PRECISION: Precision = Precision::F32;

    #[inline(always)]
    unsafe fn along<T: Number>(start: *const T, left: usize) -> __m512i {
        // SAFETY: the mask excludes entries after the end.
        unsafe { T::load(first(left) as __mmask16, start) }
    }

    #[inline(always)]
    unsafe fn across<T: Number>(mask: __mmask16, start: *const T, _: usize, _: usize) -> __m512i {
        // SAFETY: the caller's promise.
        unsafe { T::load(mask, start) }
    }
}

/// Two numbers in bf16.
pub(super) struct Pair;

impl Word for Pair {
    const PRECISION: Precision = Precision::Bf16;

    #[inline(always)]
    unsafe fn along<T: Number>(start: *const T, left: usize) -> __m512i {
        // SAFETY: the mask excludes entries after the end.
        unsafe { T::load_rounded(first(left), start) }
    }

    #[inline(always)]
    unsafe fn across<T: Number>(
        mask: __mmask16,
        start: *const T,
        apart: usize,
        left: usize,
    ) -> __m512i {
        let entries = |i: usize| {
            let mask = if i < left { mask } else { 0 };
            // SAFETY: the mask excludes missing vectors and entries.
            unsafe { _mm512_cvtepu16_epi32(T::load_half(mask, start.wrapping_add(i * apart))) }
        };
        // SAFETY: the processor has the features.
        unsafe { _mm512_or_si512(entries(0), _mm512_slli_epi32::<16>(entries(1))) }
    }
}

/// # Safety
/// As of [`pack`](super::pack); entries are in bounds, and the processor has what the words need.
#[inline(always)]
pub(super) unsafe fn pack<W: Word>(
    x: Vectors<Numbers<'_>>,
    count: usize,
    length: usize,
    to: Lines,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match (x.data, x.along == 1, x.apart == 1) {
            (Numbers::F32(data), true, _) => along::<W, f32>(x.of(data), count, length, to),
            (Numbers::Bf16(data), true, _) => along::<W, u16>(x.of(data), count, length, to),
            (Numbers::F32(data), _, true) => across::<W, f32>(x.of(data), count, length, to),
            (Numbers::Bf16(data), _, true) => across::<W, u16>(x.of(data), count, length, to),
            _ => super::pack(W::PRECISION, x, count, length, to),
        }
    }
}

/// Packs vectors whose entries are contiguous.
#[inline(always)]
unsafe fn along<W: Word, T: Number>(x: Vectors<&[T]>, count: usize, length: usize, to: Lines) {
    let mask = first(to.width()) as __mmask16;
    for done in (0..length).step_by(W::PRECISION.entries() * SIDE) {
        let left = length - done;
        // SAFETY: the processor has the features.
        let mut rows = [unsafe { _mm512_setzero_si512() }; SIDE];
        for (j, row) in rows.iter_mut().enumerate() {
            if j < count {
                // SAFETY: the caller's promise.
                *row = unsafe { W::along(x.entry(j, done), left) };
            }
        }
        // SAFETY: the processor has the features.
        let columns = unsafe { transpose(rows) };
        let lines = left.div_ceil(W::PRECISION.entries());
        for (p, column) in columns.iter().enumerate().take(lines) {
            let to = to.line(done / W::PRECISION.entries() + p);
            // SAFETY: the caller's promise.
            unsafe { _mm512_mask_storeu_epi32(to.cast(), mask, *column) };
        }
    }
}

/// Packs vectors that are side by side, entry by entry.
#[inline(always)]
unsafe fn across<W: Word, T: Number>(x: Vectors<&[T]>, count: usize, length: usize, to: Lines) {
    let (there, written) = (first(count) as __mmask16, first(to.width()) as __mmask16);
    for p in 0..length.div_ceil(W::PRECISION.entries()) {
        let entry = p * W::PRECISION.entries();
        // SAFETY: the caller's promise.
        unsafe {
            let words = W::across(there, x.entry(0, entry), x.along, length - entry);
            _mm512_mask_storeu_epi32(to.line(p).cast(), written, words);
        }
    }
}

/// The transpose of 16 × 16 words.
#[target_feature(enable = "avx512f")]
fn transpose(rows: [__m512i; SIDE]) -> [__m512i; SIDE] {
    let zero = _mm512_setzero_si512();
    // Four rows at a time: within each quarter of a register, four columns of them.
    let mut quarters = [[zero; 4]; 4];
    for (rows, quarter) in rows.as_chunks::<4>().0.iter().zip(&mut quarters) {
        let (a, b) = (
            _mm512_unpacklo_epi32(rows[0], rows[1]),
            _mm512_unpackhi_epi32(rows[0], rows[1]),
        );
        let (c, d) = (
            _mm512_unpacklo_epi32(rows[2], rows[3]),
            _mm512_unpackhi_epi32(rows[2], rows[3]),
        );
        *quarter = [
            _mm512_unpacklo_epi64(a, c),
            _mm512_unpackhi_epi64(a, c),
            _mm512_unpacklo_epi64(b, d),
            _mm512_unpackhi_epi64(b, d),
        ];
    }
    let mut columns = [zero; SIDE];
    for i in 0..4 {
        let [a, b, c, d] = [0, 1, 2, 3].map(|group: usize| quarters[group][i]);
        let (even, odd) = (
            [
                _mm512_shuffle_i32x4::<0x88>(a, b),
                _mm512_shuffle_i32x4::<0x88>(c, d),
            ],
            [
                _mm512_shuffle_i32x4::<0xdd>(a, b),
                _mm512_shuffle_i32x4::<0xdd>(c, d),
            ],
        );
        columns[i] = _mm512_shuffle_i32x4::<0x88>(even[0], even[1]);
        columns[4 + i] = _mm512_shuffle_i32x4::<0x88>(odd[0], odd[1]);
        columns[8 + i] = _mm512_shuffle_i32x4::<0xdd>(even[0], even[1]);
        columns[12 + i] = _mm512_shuffle_i32x4::<0xdd>(odd[0], odd[1]);
    }
    columns
}
