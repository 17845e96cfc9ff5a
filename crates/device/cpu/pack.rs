//! Packing matrices for the product kernels: sixteen vectors side by side, in 32-bit words that hold one f32
//! number, or two bf16 numbers that are neighbours along the sum.

use super::Numbers;
use super::precision::{bf16_bits, widen};
use super::simd::Isa;
use crate::Precision;

/// Vectors packed side by side.
pub(crate) const SIDE: usize = 16;

/// Vectors to pack: the rows of a left operand, the columns of a right one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Vectors<D> {
    /// The numbers, from the first entry of the first vector on.
    pub(crate) data: D,
    /// Numbers between vectors.
    pub(crate) apart: usize,
    /// Numbers between the entries of a vector.
    pub(crate) along: usize,
}

impl<'a> Vectors<Numbers<'a>> {
    /// The vectors from index `vector` on, each from index `entry` on.
    pub(crate) fn from(self, vector: usize, entry: usize) -> Self {
        let offset = vector * self.apart + entry * self.along;
        Self {
            data: self.data.from(offset.min(self.data.len())),
            ..self
        }
    }

    /// The same vectors, of numbers of one type.
    fn of<T>(self, data: &'a [T]) -> Vectors<&'a [T]> {
        Vectors {
            data,
            apart: self.apart,
            along: self.along,
        }
    }
}

impl<'a, T> Vectors<&'a [T]> {
    /// A function of (j, i) that returns entry i of vector j in f32, and 0 outside.
    fn entries(
        self,
        count: usize,
        length: usize,
        number: impl Fn(&T) -> f32 + 'a,
    ) -> impl Fn(usize, usize) -> f32 + 'a {
        move |j, i| {
            if j < count && i < length {
                number(&self.data[j * self.apart + i * self.along])
            } else {
                0.0
            }
        }
    }

    /// The address of an entry.
    #[cfg(target_arch = "x86_64")]
    fn entry(self, vector: usize, entry: usize) -> *const T {
        let offset = vector * self.apart + entry * self.along;
        self.data.as_ptr().wrapping_add(offset)
    }
}

impl Precision {
    /// How many entries of a vector one word holds.
    pub(crate) const fn entries(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::Bf16 => 2,
        }
    }

    /// How many words hold `entries` entries of a vector.
    pub(crate) fn words(self, entries: usize) -> usize {
        entries.div_ceil(self.entries())
    }
}

/// The destination of packed words. Line p, at `start + p·stride`, has one word of each vector: 16, or as many as
/// the stride if it is smaller.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lines {
    pub(crate) start: *mut u32,
    pub(crate) stride: usize,
}

impl Lines {
    /// How many words of a line are written.
    fn width(self) -> usize {
        self.stride.min(SIDE)
    }

    /// The address of a line.
    fn line(self, p: usize) -> *mut u32 {
        self.start.wrapping_add(p * self.stride)
    }
}

/// Packs the first `length` entries of `count` ≤ 16 vectors: word j of a line is of vector j. In f32 line p holds
/// entry p, in bf16 entries 2p and 2p + 1. Words of missing vectors and entries are zero.
///
/// # Safety
/// All these lines are in bounds of live memory, and no other thread writes them.
#[allow(unsafe_code)]
pub(crate) unsafe fn pack(
    precision: Precision,
    x: Vectors<Numbers<'_>>,
    count: usize,
    length: usize,
    to: Lines,
) {
    let lines = precision.words(length);
    // SAFETY: the caller's promise.
    unsafe {
        match x.data {
            Numbers::F32(data) => {
                let entry = x.of(data).entries(count, length, |x| *x);
                fill(precision, entry, lines, to);
            }
            Numbers::Bf16(data) => {
                let entry = x.of(data).entries(count, length, |x| widen(*x));
                fill(precision, entry, lines, to);
            }
        }
    }
}

/// Writes lines of words made of the entries (vector, index).
///
/// # Safety
/// As [`pack`].
#[allow(unsafe_code)]
unsafe fn fill(precision: Precision, entry: impl Fn(usize, usize) -> f32, lines: usize, to: Lines) {
    let word = |j: usize, p: usize| match precision {
        Precision::F32 => entry(j, p).to_bits(),
        Precision::Bf16 => {
            let [low, high] = [2 * p, 2 * p + 1].map(|i| bf16_bits(entry(j, i)));
            low | (high << 16)
        }
    };
    for p in 0..lines {
        for j in 0..to.width() {
            // SAFETY: the caller's promise.
            unsafe { *to.line(p).wrapping_add(j) = word(j, p) };
        }
    }
}

/// [`pack`] to a slice of words, with the given instruction set.
///
/// # Panics
/// If an entry is out of bounds, or there are too few words.
#[allow(unsafe_code)]
pub(crate) fn pack_on(
    isa: Isa,
    precision: Precision,
    x: Vectors<Numbers<'_>>,
    [count, length]: [usize; 2],
    to: &mut [u32],
    stride: usize,
) {
    let last = count.saturating_sub(1) * x.apart + length.saturating_sub(1) * x.along;
    assert!(count <= SIDE && (count == 0 || length == 0 || last < x.data.len()));
    assert!(to.len() >= precision.words(length) * stride);
    let to = Lines {
        start: to.as_mut_ptr(),
        stride,
    };
    // SAFETY: the entries and words are there.
    unsafe { pack_with(isa, precision, x, count, length, to) };
}

/// [`pack`] with the given instruction set.
///
/// # Safety
/// As of [`pack`]; the entries are in bounds, and the processor has `isa`.
#[allow(unsafe_code)]
pub(crate) unsafe fn pack_with(
    isa: Isa,
    precision: Precision,
    x: Vectors<Numbers<'_>>,
    count: usize,
    length: usize,
    to: Lines,
) {
    // SAFETY: the caller's promise.
    unsafe {
        match (isa, precision) {
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512Bf16, Precision::Bf16) => pack_pairs(x, count, length, to),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512Bf16 | Isa::Avx512, Precision::F32) => pack_numbers(x, count, length, to),
            _ => pack(precision, x, count, length, to),
        }
    }
}

/// [`pack`] in bf16 with avx512_bf16.
///
/// # Safety
/// As of [`pack`]; the entries are in bounds, and the processor has these features.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn pack_pairs(x: Vectors<Numbers<'_>>, count: usize, length: usize, to: Lines) {
    // SAFETY: the caller's promise.
    unsafe { native::pack::<native::Pair>(x, count, length, to) };
}

/// [`pack`] in f32 with AVX-512.
///
/// # Safety
/// As of [`pack`]; the entries are in bounds, and the processor has these features.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
#[target_feature(enable = "avx512f")]
unsafe fn pack_numbers(x: Vectors<Numbers<'_>>, count: usize, length: usize, to: Lines) {
    // SAFETY: the caller's promise.
    unsafe { native::pack::<native::Single>(x, count, length, to) };
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod native;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::precision::bf16_round;
    use crate::cpu::simd::all;

    /// Every instruction set packs every layout to the same words, for all counts and odd lengths.
    #[test]
    #[allow(unsafe_code)]
    fn any_layout_packs_the_same() {
        for (count, length) in (1..=SIDE).flat_map(|c| [1, 2, 31, 32, 33, 70].map(|l| (c, l))) {
            let x: Vec<f32> = (0..count * length)
                .map(|i| bf16_round((i as f32 * 0.77).sin()))
                .collect();
            let mut across = vec![0.0; x.len()];
            (0..x.len()).for_each(|i| across[i % length * count + i / length] = x[i]);
            let spread: Vec<f32> = x.iter().flat_map(|x| [*x, 9.0]).collect();
            for (precision, stride) in [Precision::F32, Precision::Bf16]
                .into_iter()
                .flat_map(|p| [5, 20].map(|s| (p, s)))
            {
                let lines = precision.words(length);
                let run = |isa: Option<Isa>, data: Numbers<'_>, apart, along| {
                    let x = Vectors { data, apart, along };
                    // Words after the last line are not written.
                    let mut to = vec![7; lines * stride + 30];
                    let lines = Lines {
                        start: to.as_mut_ptr(),
                        stride,
                    };
                    // SAFETY: the sizes fit, and the processor has the instruction sets of `all()`.
                    unsafe {
                        match isa {
                            Some(isa) => pack_with(isa, precision, x, count, length, lines),
                            None => pack(precision, x, count, length, lines),
                        }
                    }
                    to
                };
                let want = run(None, Numbers::F32(&x), length, 1);
                assert!(want[lines * stride..].iter().all(|word| *word == 7));
                assert!(stride == 5 || want[16..20] == [7; 4]);
                match precision {
                    Precision::F32 => assert_eq!(want[0], x[0].to_bits()),
                    Precision::Bf16 => assert_eq!(want[0] & 0xffff, bf16_bits(x[0])),
                }
                for (x, apart, along) in [
                    (&x, length, 1),
                    (&across, 1, count),
                    (&spread, 2 * length, 2),
                ] {
                    let words: Vec<u16> = x.iter().map(|x| bf16_bits(*x) as u16).collect();
                    for data in [Numbers::F32(x), Numbers::Bf16(&words)] {
                        for isa in all().into_iter().map(Some).chain([None]) {
                            let got = run(isa, data, apart, along);
                            assert_eq!(got, want, "{precision:?} {isa:?} {count} {length} {apart}");
                        }
                    }
                }
            }
        }
    }
}
