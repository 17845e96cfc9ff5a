//! Matrices rounded to bf16 and laid out as avx512_bf16 reads them: two neighbours along the sum in
//! one 32-bit word, sixteen vectors side by side.

use super::precision::pair;
use super::simd::Isa;

/// Vectors packed side by side.
pub(crate) const SIDE: usize = 16;

/// Vectors to pack: the rows of a left operand, the columns of a right one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Vectors<'a> {
    /// Where the first entry of the first one comes first.
    pub(crate) data: &'a [f32],
    /// Floats between vectors.
    pub(crate) apart: usize,
    /// Floats between the entries of a vector.
    pub(crate) along: usize,
}

impl Vectors<'_> {
    /// Those from `vector` on, each from `entry` on.
    pub(crate) fn from(self, vector: usize, entry: usize) -> Self {
        let offset = vector * self.apart + entry * self.along;
        Self {
            data: &self.data[offset.min(self.data.len())..],
            ..self
        }
    }

    /// Where an entry is.
    #[cfg(target_arch = "x86_64")]
    fn entry(self, vector: usize, entry: usize) -> *const f32 {
        let offset = vector * self.apart + entry * self.along;
        self.data.as_ptr().wrapping_add(offset)
    }
}

/// Packs the first `length` entries of `count` ≤ 16 vectors: word j of row p, at `to + p·stride + j`,
/// holds entries 2p and 2p + 1 of vector j. What is beyond the vectors or their ends is zero.
///
/// # Safety
/// ⌈length/2⌉ rows of 16 words are in bounds of live memory and written by nobody else.
#[allow(unsafe_code)]
pub(crate) unsafe fn pack(
    x: Vectors<'_>,
    count: usize,
    length: usize,
    to: *mut u32,
    stride: usize,
) {
    for p in 0..length.div_ceil(2) {
        for j in 0..SIDE {
            let entry = |i: usize| match j < count && i < length {
                true => x.data[j * x.apart + i * x.along],
                false => 0.0,
            };
            // SAFETY: the caller's promise.
            unsafe { *to.add(p * stride + j) = pair(entry(2 * p), entry(2 * p + 1)) };
        }
    }
}

/// [`pack`] of rows that lie one behind the other, with what the processor has.
///
/// # Panics
/// If an entry is out of bounds, or there are too few words.
#[allow(unsafe_code)]
pub(crate) fn pack_on(isa: Isa, x: Vectors<'_>, count: usize, length: usize, to: &mut [u32]) {
    let last = count.saturating_sub(1) * x.apart + length.saturating_sub(1) * x.along;
    assert!(count <= SIDE && (count == 0 || length == 0 || last < x.data.len()));
    assert!(to.len() >= length.div_ceil(2) * SIDE);
    match isa {
        // SAFETY: the entries and words are there, and `isa()` found the features.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Bf16 => unsafe { pack_bf16(x, count, length, to.as_mut_ptr(), SIDE) },
        // SAFETY: as above.
        _ => unsafe { pack(x, count, length, to.as_mut_ptr(), SIDE) },
    }
}

/// [`pack`] with avx512_bf16.
///
/// # Safety
/// As there; the entries are in bounds, and the processor has these features.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(crate) unsafe fn pack_bf16(
    x: Vectors<'_>,
    count: usize,
    length: usize,
    to: *mut u32,
    stride: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        if x.along == 1 {
            native::pack_along(x, count, length, to, stride);
        } else if x.apart == 1 {
            native::pack_across(x, count, length, to, stride);
        } else {
            pack(x, count, length, to, stride);
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod native {
    use super::{SIDE, Vectors};
    use std::arch::x86_64::*;
    use std::mem::transmute;

    /// The lowest `count` lanes.
    fn first(count: usize) -> __mmask16 {
        ((1u32 << count.min(16)) - 1) as __mmask16
    }

    /// Vectors whose entries lie side by side.
    ///
    /// # Safety
    /// As [`pack_bf16`](super::pack_bf16).
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    pub(super) unsafe fn pack_along(
        x: Vectors<'_>,
        count: usize,
        length: usize,
        to: *mut u32,
        stride: usize,
    ) {
        for done in (0..length).step_by(2 * SIDE) {
            let left = length - done;
            let (low, high) = (first(left), first(left.saturating_sub(SIDE)));
            let mut rows = [_mm512_setzero_si512(); SIDE];
            for (j, row) in rows.iter_mut().enumerate() {
                if j < count {
                    let start = x.entry(j, done);
                    // SAFETY: masks leave out what is beyond the end.
                    *row = unsafe {
                        let low = _mm512_maskz_loadu_ps(low, start);
                        let high = _mm512_maskz_loadu_ps(high, start.wrapping_add(SIDE));
                        transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low))
                    };
                }
            }
            let columns = transpose(rows);
            for (p, column) in columns.iter().enumerate().take(left.div_ceil(2)) {
                // SAFETY: the caller's promise.
                unsafe { _mm512_storeu_si512(to.add((done / 2 + p) * stride).cast(), *column) };
            }
        }
    }

    /// Vectors that lie side by side.
    ///
    /// # Safety
    /// As [`pack_bf16`](super::pack_bf16).
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    pub(super) unsafe fn pack_across(
        x: Vectors<'_>,
        count: usize,
        length: usize,
        to: *mut u32,
        stride: usize,
    ) {
        let mask = first(count);
        for p in 0..length.div_ceil(2) {
            let entries = |i: usize| {
                // SAFETY: the mask leaves out vectors that are not there, and so does the condition
                // entries.
                let words = unsafe {
                    let mask = if i < length { mask } else { 0 };
                    transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(
                        mask,
                        x.entry(0, i),
                    )))
                };
                _mm512_cvtepu16_epi32(words)
            };
            let (even, odd) = (entries(2 * p), _mm512_slli_epi32::<16>(entries(2 * p + 1)));
            // SAFETY: the caller's promise.
            unsafe {
                _mm512_storeu_si512(to.add(p * stride).cast(), _mm512_or_si512(even, odd));
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::simd::all;

    /// Both ways of packing, from each layout, for every count and odd lengths.
    #[test]
    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code)]
    fn any_layout_packs_the_same() {
        if !all().contains(&Isa::Avx512Bf16) {
            return;
        }
        for (count, length) in (1..=SIDE).flat_map(|c| [1, 2, 31, 32, 33, 70].map(|l| (c, l))) {
            let x: Vec<f32> = (0..count * length)
                .map(|i| (i as f32 * 0.77).sin())
                .collect();
            let mut across = vec![0.0; x.len()];
            (0..x.len()).for_each(|i| across[i % length * count + i / length] = x[i]);
            let spread: Vec<f32> = x.iter().flat_map(|x| [*x, 9.0]).collect();
            let run = |x: &[f32], apart, along, native: bool| {
                let x = Vectors {
                    data: x,
                    apart,
                    along,
                };
                let mut to = vec![7; length.div_ceil(2) * 20];
                // SAFETY: the sizes fit, and the processor has the features.
                unsafe {
                    match native {
                        true => pack_bf16(x, count, length, to.as_mut_ptr(), 20),
                        false => pack(x, count, length, to.as_mut_ptr(), 20),
                    }
                }
                to
            };
            // The last four words of a row are nobody's.
            let mut want = run(&x, length, 1, false);
            assert_eq!(want[16..20], [7; 4]);
            assert_eq!(want[0] & 0xffff, pair(x[0], 0.0));
            want.truncate(want.len() - 4);
            for (x, apart, along) in [
                (&x, length, 1),
                (&across, 1, count),
                (&spread, 2 * length, 2),
            ] {
                let got = run(x, apart, along, true);
                assert_eq!(got[..want.len()], want, "{count} {length} {apart}");
            }
        }
    }
}
