//! Matrices rounded to bf16 and laid out as avx512_bf16 reads them: two neighbours along the sum in
//! one 32-bit word, sixteen vectors side by side.

use super::Numbers;
use super::precision::bf16_bits;
use super::simd::Isa;

/// Vectors packed side by side.
pub(crate) const SIDE: usize = 16;

/// Vectors to pack: the rows of a left operand, the columns of a right one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Vectors<D> {
    /// Where the first entry of the first one comes first.
    pub(crate) data: D,
    /// Numbers between vectors.
    pub(crate) apart: usize,
    /// Numbers between the entries of a vector.
    pub(crate) along: usize,
}

impl<'a> Vectors<Numbers<'a>> {
    /// Those from `vector` on, each from `entry` on.
    pub(crate) fn from(self, vector: usize, entry: usize) -> Self {
        let offset = vector * self.apart + entry * self.along;
        Self {
            data: self.data.from(offset.min(self.data.len())),
            ..self
        }
    }

    /// The same, of numbers of one type.
    fn of<T>(self, data: &'a [T]) -> Vectors<&'a [T]> {
        Vectors {
            data,
            apart: self.apart,
            along: self.along,
        }
    }
}

impl<T> Vectors<&[T]> {
    /// Where an entry is.
    #[cfg(target_arch = "x86_64")]
    fn entry(self, vector: usize, entry: usize) -> *const T {
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
    x: Vectors<Numbers<'_>>,
    count: usize,
    length: usize,
    to: *mut u32,
    stride: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match x.data {
            Numbers::F32(data) => plain(x.of(data), count, length, to, stride, |x| bf16_bits(*x)),
            Numbers::Bf16(data) => plain(x.of(data), count, length, to, stride, |x| u32::from(*x)),
        }
    }
}

/// # Safety
/// As [`pack`].
#[allow(unsafe_code)]
unsafe fn plain<T>(
    x: Vectors<&[T]>,
    count: usize,
    length: usize,
    to: *mut u32,
    stride: usize,
    bits: impl Fn(&T) -> u32,
) {
    for p in 0..length.div_ceil(2) {
        for j in 0..SIDE {
            let entry = |i: usize| match j < count && i < length {
                true => bits(&x.data[j * x.apart + i * x.along]),
                false => 0,
            };
            // SAFETY: the caller's promise.
            unsafe { *to.add(p * stride + j) = entry(2 * p) | (entry(2 * p + 1) << 16) };
        }
    }
}

/// [`pack`] of rows that lie one behind the other, with what the processor has.
///
/// # Panics
/// If an entry is out of bounds, or there are too few words.
#[allow(unsafe_code)]
pub(crate) fn pack_on(
    isa: Isa,
    x: Vectors<Numbers<'_>>,
    count: usize,
    length: usize,
    to: &mut [u32],
) {
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
    x: Vectors<Numbers<'_>>,
    count: usize,
    length: usize,
    to: *mut u32,
    stride: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match (x.data, x.along == 1, x.apart == 1) {
            (Numbers::F32(data), true, _) => {
                native::pack_along(x.of(data), count, length, to, stride);
            }
            (Numbers::Bf16(data), true, _) => {
                native::pack_along(x.of(data), count, length, to, stride);
            }
            (Numbers::F32(data), _, true) => {
                native::pack_across(x.of(data), count, length, to, stride);
            }
            (Numbers::Bf16(data), _, true) => {
                native::pack_across(x.of(data), count, length, to, stride);
            }
            _ => pack(x, count, length, to, stride),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod native {
    use super::{SIDE, Vectors};
    use std::arch::x86_64::*;
    use std::mem::transmute;

    /// The lowest `count` of 32 lanes.
    fn first(count: usize) -> __mmask32 {
        ((1u64 << count.min(32)) - 1) as __mmask32
    }

    /// A number to pack, sixteen or thirty-two at once; rounded where it is not bf16 yet.
    pub(super) trait Number: Copy {
        /// # Safety
        /// What the mask leaves is in bounds; the processor has avx512_bf16.
        unsafe fn load_32(mask: __mmask32, start: *const Self) -> __m512i;

        /// # Safety
        /// As above.
        unsafe fn load_16(mask: __mmask16, start: *const Self) -> __m256i;
    }

    impl Number for f32 {
        #[inline(always)]
        unsafe fn load_32(mask: __mmask32, start: *const f32) -> __m512i {
            // SAFETY: the caller's promise.
            unsafe {
                let low = _mm512_maskz_loadu_ps(mask as __mmask16, start);
                let high = (mask >> SIDE) as __mmask16;
                let high = _mm512_maskz_loadu_ps(high, start.wrapping_add(SIDE));
                transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low))
            }
        }

        #[inline(always)]
        unsafe fn load_16(mask: __mmask16, start: *const f32) -> __m256i {
            // SAFETY: the caller's promise.
            unsafe {
                let x = _mm512_maskz_loadu_ps(mask, start);
                transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(x))
            }
        }
    }

    impl Number for u16 {
        #[inline(always)]
        unsafe fn load_32(mask: __mmask32, start: *const u16) -> __m512i {
            // SAFETY: the caller's promise.
            unsafe { _mm512_maskz_loadu_epi16(mask, start.cast()) }
        }

        #[inline(always)]
        unsafe fn load_16(mask: __mmask16, start: *const u16) -> __m256i {
            // SAFETY: the caller's promise.
            unsafe { _mm256_maskz_loadu_epi16(mask, start.cast()) }
        }
    }

    /// Vectors whose entries lie side by side.
    ///
    /// # Safety
    /// As [`pack_bf16`](super::pack_bf16).
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    pub(super) unsafe fn pack_along<T: Number>(
        x: Vectors<&[T]>,
        count: usize,
        length: usize,
        to: *mut u32,
        stride: usize,
    ) {
        for done in (0..length).step_by(2 * SIDE) {
            let left = length - done;
            let mut rows = [_mm512_setzero_si512(); SIDE];
            for (j, row) in rows.iter_mut().enumerate() {
                if j < count {
                    // SAFETY: the mask leaves out what is beyond the end.
                    *row = unsafe { T::load_32(first(left), x.entry(j, done)) };
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
    pub(super) unsafe fn pack_across<T: Number>(
        x: Vectors<&[T]>,
        count: usize,
        length: usize,
        to: *mut u32,
        stride: usize,
    ) {
        let mask = first(count) as __mmask16;
        for p in 0..length.div_ceil(2) {
            let entries = |i: usize| {
                let mask = if i < length { mask } else { 0 };
                // SAFETY: the mask leaves out vectors and entries that are not there.
                _mm512_cvtepu16_epi32(unsafe { T::load_16(mask, x.entry(0, i)) })
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
            let run = |x: Numbers<'_>, apart, along, native: bool| {
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
            let mut want = run(Numbers::F32(&x), length, 1, false);
            assert_eq!(want[16..20], [7; 4]);
            assert_eq!(want[0] & 0xffff, bf16_bits(x[0]));
            want.truncate(want.len() - 4);
            for (x, apart, along) in [
                (&x, length, 1),
                (&across, 1, count),
                (&spread, 2 * length, 2),
            ] {
                let words: Vec<u16> = x.iter().map(|x| bf16_bits(*x) as u16).collect();
                for x in [Numbers::F32(x), Numbers::Bf16(&words)] {
                    for native in [true, false] {
                        let got = run(x, apart, along, native);
                        assert_eq!(got[..want.len()], want, "{count} {length} {apart}");
                    }
                }
            }
        }
    }
}
