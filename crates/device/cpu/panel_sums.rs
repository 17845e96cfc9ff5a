//! Products of a few rows with one panel of a packed matrix, for each instruction set.

use super::simd::{Isa, LANES, dispatch, fma, prefetch};
use super::split::Shared;
use crate::Write;
use std::ops::Range;

/// How many words ahead are prefetched: the processor's own prefetching stops at page boundaries.
const AHEAD: usize = 32 * LANES;

/// What a product is scaled by and added to before it is written.
#[derive(Debug, Clone, Copy)]
pub struct Epilogue<'a> {
    /// A number for each column, to add.
    pub bias: Option<&'a [f32]>,
    /// The factor of the product, applied before the bias is added.
    pub scale: f32,
    /// Whether the result is added to the destination or overwrites it.
    pub write: Write,
}

/// The destination of a product with one panel.
pub(super) struct Work<'a> {
    /// How many rows are taken at a time.
    pub(super) groups: &'a [usize],
    /// The columns of `c` [m, n] that belong to the panel.
    pub(super) columns: Range<usize>,
    pub(super) epilogue: Epilogue<'a>,
    pub(super) c: Shared<'a>,
    pub(super) n: usize,
}

/// A way to compute the products of `R` rows with one panel.
trait Sums {
    /// A word of one number or two.
    type Word: Copy;

    /// The rows from index `first` on, where a row is `words` long.
    fn rows(rows: &[Self::Word], first: usize, words: usize) -> &[Self::Word];

    /// The products of the first `R` rows.
    fn of<const R: usize>(rows: &[Self::Word], panel: &[Self::Word]) -> [[f32; LANES]; R];
}

/// f32 numbers. The compiler keeps the sums of few rows in registers.
struct Plain<const FUSED: bool>;

impl<const FUSED: bool> Sums for Plain<FUSED> {
    type Word = f32;

    /// Groups follow each other, each [words, R].
    #[inline(always)]
    fn rows(rows: &[f32], first: usize, words: usize) -> &[f32] {
        &rows[first * words..]
    }

    #[inline(always)]
    fn of<const R: usize>(rows: &[f32], panel: &[f32]) -> [[f32; LANES]; R] {
        let mut sums = [[0.0; LANES]; R];
        let (rows, panel) = (rows.as_chunks::<R>().0, panel.as_chunks::<LANES>().0);
        for (x, weights) in rows.iter().zip(panel) {
            prefetch(weights, AHEAD);
            for r in 0..R {
                for i in 0..LANES {
                    sums[r][i] = fma::<FUSED>(x[r], weights[i], sums[r][i]);
                }
            }
        }
        sums
    }
}

/// Pairs of bf16, widened to f32.
struct Pairs<const FUSED: bool>;

impl<const FUSED: bool> Sums for Pairs<FUSED> {
    type Word = u32;

    /// Sixteen rows are side by side, [words, 16].
    #[inline(always)]
    fn rows(rows: &[u32], first: usize, words: usize) -> &[u32] {
        &rows[first / LANES * LANES * words + first % LANES..]
    }

    #[inline(always)]
    fn of<const R: usize>(rows: &[u32], panel: &[u32]) -> [[f32; LANES]; R] {
        let mut sums = [[0.0; LANES]; R];
        for (x, weights) in rows.chunks(LANES).zip(panel.as_chunks::<LANES>().0) {
            prefetch(weights, AHEAD);
            let mut halves = [[0.0; LANES]; 2];
            for i in 0..LANES {
                halves[0][i] = f32::from_bits(weights[i] << 16);
                halves[1][i] = f32::from_bits(weights[i] & 0xffff_0000);
            }
            for r in 0..R {
                let both = [x[r] << 16, x[r] & 0xffff_0000].map(f32::from_bits);
                for (x, weights) in both.iter().zip(&halves) {
                    for i in 0..LANES {
                        sums[r][i] = fma::<FUSED>(*x, weights[i], sums[r][i]);
                    }
                }
            }
        }
        sums
    }
}

/// f32 numbers with AVX-512 intrinsics: for 8 rows or more the compiler would vectorize over the rows and gather
/// them from memory in each step.
#[cfg(target_arch = "x86_64")]
struct Wide;

#[cfg(target_arch = "x86_64")]
impl Sums for Wide {
    type Word = f32;

    #[inline(always)]
    fn rows(rows: &[f32], first: usize, words: usize) -> &[f32] {
        Plain::<true>::rows(rows, first, words)
    }

    #[inline(always)]
    #[allow(unsafe_code)]
    fn of<const R: usize>(rows: &[f32], panel: &[f32]) -> [[f32; LANES]; R] {
        use std::arch::x86_64::{
            _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
        };
        let (rows, panel) = (rows.as_chunks::<R>().0, panel.as_chunks::<LANES>().0);
        let mut result = [[0.0; LANES]; R];
        // SAFETY: only `multiply_plain` uses this type, after AVX-512 was detected; each load and store is of
        // an array of 16 floats.
        unsafe {
            let mut sums = [_mm512_setzero_ps(); R];
            for (x, weights) in rows.iter().zip(panel) {
                prefetch(weights, AHEAD);
                let weights = _mm512_loadu_ps(weights.as_ptr());
                for r in 0..R {
                    sums[r] = _mm512_fmadd_ps(_mm512_set1_ps(x[r]), weights, sums[r]);
                }
            }
            for (result, sums) in result.iter_mut().zip(sums) {
                _mm512_storeu_ps(result.as_mut_ptr(), sums);
            }
        }
        result
    }
}

/// Pairs of bf16, multiplied with avx512_bf16.
#[cfg(target_arch = "x86_64")]
struct WidePairs;

#[cfg(target_arch = "x86_64")]
impl Sums for WidePairs {
    type Word = u32;

    #[inline(always)]
    fn rows(rows: &[u32], first: usize, words: usize) -> &[u32] {
        Pairs::<true>::rows(rows, first, words)
    }

    #[inline(always)]
    #[allow(unsafe_code)]
    fn of<const R: usize>(rows: &[u32], panel: &[u32]) -> [[f32; LANES]; R] {
        use std::arch::x86_64::{
            __m512bh, __m512i, _mm512_dpbf16_ps, _mm512_loadu_si512, _mm512_set1_epi32,
            _mm512_setzero_ps, _mm512_storeu_ps,
        };
        use std::mem::transmute;
        let panel = panel.as_chunks::<LANES>().0;
        assert!(rows.len() + LANES >= panel.len() * LANES + R);
        let mut result = [[0.0; LANES]; R];
        // SAFETY: only `multiply_pairs` uses this type, after avx512_bf16 was detected; loads and stores are of
        // arrays of 16 words, and the number of rows was just checked.
        unsafe {
            let mut sums = [_mm512_setzero_ps(); R];
            for (p, weights) in panel.iter().enumerate() {
                prefetch(weights, AHEAD);
                let weights = _mm512_loadu_si512(weights.as_ptr().cast());
                let weights = transmute::<__m512i, __m512bh>(weights);
                for (r, sum) in sums.iter_mut().enumerate() {
                    let x = _mm512_set1_epi32(rows.get_unchecked(p * LANES + r).cast_signed());
                    let x = transmute::<__m512i, __m512bh>(x);
                    *sum = _mm512_dpbf16_ps(*sum, x, weights);
                }
            }
            for (result, sums) in result.iter_mut().zip(sums) {
                _mm512_storeu_ps(result.as_mut_ptr(), sums);
            }
        }
        result
    }
}

#[inline(always)]
fn group_body<S: Sums, const R: usize>(
    work: &Work<'_>,
    rows: &[S::Word],
    panel: &[S::Word],
    first: usize,
) {
    let (columns, epilogue) = (&work.columns, work.epilogue);
    let sums = S::of::<R>(S::rows(rows, first, panel.len() / LANES), panel);
    for (r, sums) in sums.iter().enumerate() {
        let start = (first + r) * work.n;
        // SAFETY: no other task has these columns.
        #[allow(unsafe_code)]
        let c = unsafe { work.c.part(start + columns.start..start + columns.end) };
        for (i, (c, sum)) in c.iter_mut().zip(sums).enumerate() {
            let bias = epilogue.bias.map_or(0.0, |bias| bias[columns.start + i]);
            let old = if epilogue.write == Write::Add {
                *c
            } else {
                0.0
            };
            *c = epilogue.scale * sum + bias + old;
        }
    }
}

#[inline(always)]
fn panel_body<S: Sums>(work: &Work<'_>, rows: &[S::Word], panel: &[S::Word]) {
    let mut first = 0;
    for group in work.groups {
        match group {
            16 => group_body::<S, 16>(work, rows, panel, first),
            8 => group_body::<S, 8>(work, rows, panel, first),
            6 => group_body::<S, 6>(work, rows, panel, first),
            5 => group_body::<S, 5>(work, rows, panel, first),
            4 => group_body::<S, 4>(work, rows, panel, first),
            2 => group_body::<S, 2>(work, rows, panel, first),
            _ => group_body::<S, 1>(work, rows, panel, first),
        }
        first += group;
    }
}

#[inline(always)]
fn plain_body<const FUSED: bool>(work: &Work<'_>, rows: &[f32], panel: &[f32]) {
    panel_body::<Plain<FUSED>>(work, rows, panel);
}
dispatch!(fn narrow_plain = plain_body(work: &Work<'_>, rows: &[f32], panel: &[f32]));

/// Products of rows in groups with a panel of f32 numbers.
#[allow(unsafe_code)]
pub(super) fn multiply_plain(isa: Isa, work: &Work<'_>, rows: &[f32], panel: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx2,fma")]
    fn wide(work: &Work<'_>, rows: &[f32], panel: &[f32]) {
        panel_body::<Wide>(work, rows, panel);
    }
    match isa {
        // SAFETY: `isa()` detected these features, and tests pass only detected instruction sets.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Bf16 | Isa::Avx512 => unsafe { wide(work, rows, panel) },
        _ => narrow_plain(isa, work, rows, panel),
    }
}

#[inline(always)]
fn pairs_body<const FUSED: bool>(work: &Work<'_>, rows: &[u32], panel: &[u32]) {
    panel_body::<Pairs<FUSED>>(work, rows, panel);
}
dispatch!(fn narrow_pairs = pairs_body(work: &Work<'_>, rows: &[u32], panel: &[u32]));

/// Products of rows that are sixteen side by side with a panel, both in pairs of bf16.
#[allow(unsafe_code)]
pub(super) fn multiply_pairs(isa: Isa, work: &Work<'_>, rows: &[u32], panel: &[u32]) {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bf16,avx2,fma")]
    fn wide(work: &Work<'_>, rows: &[u32], panel: &[u32]) {
        panel_body::<WidePairs>(work, rows, panel);
    }
    match isa {
        // SAFETY: `isa()` detected these features, and tests pass only detected instruction sets.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Bf16 => unsafe { wide(work, rows, panel) },
        _ => narrow_pairs(isa, work, rows, panel),
    }
}
