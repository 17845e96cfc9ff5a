//! Products of few rows with a packed matrix: most of the time of decoding.

use super::pack::{Lines, SIDE, Vectors, pack_on, pack_with};
use super::panel_sums::{Epilogue, Work, multiply_pairs, multiply_plain};
use super::simd::{Isa, LANES, isa};
use super::split::Shared;
use super::view::View;
use super::{Buffer, Numbers};
use crate::Precision;
use rayon::prelude::*;
use std::ops::Range;

/// Rows that are packed at a time: an even number, so that pairs are not split.
const BLOCK: usize = 16;

/// A matrix [k, n] cut into panels of 16 columns, each row-major [k, 16] and padded with zeros, so that a product
/// reads it once from start to end. In bf16 two rows share a line of 32-bit words.
#[derive(Debug, Default)]
pub struct PackedMatrix {
    memory: Buffer,
    precision: Precision,
    rows: usize,
    columns: usize,
}

impl PackedMatrix {
    /// Packs a matrix [k, n].
    #[must_use]
    pub fn new(precision: Precision, matrix: View<'_>) -> Self {
        Self::within(Buffer::default(), precision, matrix)
    }

    /// Packs a matrix into the given memory, which grows if it is too small.
    #[must_use]
    pub fn within(memory: Buffer, precision: Precision, matrix: View<'_>) -> Self {
        Self::within_on(isa(), memory, precision, matrix)
    }

    /// Returns the memory for reuse; its contents are unspecified.
    #[must_use]
    pub fn into_memory(self) -> Buffer {
        self.memory
    }

    fn within_on(isa: Isa, mut memory: Buffer, precision: Precision, matrix: View<'_>) -> Self {
        let (rows, columns) = (matrix.rows(), matrix.columns());
        let lines = precision.words(rows);
        let words = memory.at_least(columns.div_ceil(LANES) * lines * LANES);
        let words = Shared::new(bytemuck::cast_slice_mut(words));
        let vectors = matrix.t().vectors();
        let pack = |panel: usize, rows: Range<usize>| {
            let first = panel * LANES;
            let count = LANES.min(columns - first);
            let to = Lines {
                start: words.pointer((panel * lines + precision.words(rows.start)) * LANES),
                stride: LANES,
            };
            // SAFETY: the lines are in bounds, and no other task writes them; the entries are in bounds; the
            // instruction set was detected.
            #[allow(unsafe_code)]
            unsafe {
                let vectors = vectors.from(first, rows.start);
                pack_with(isa, precision, vectors, count, rows.len(), to);
            }
        };
        // In the order in which memory is read.
        let panel_count = columns.div_ceil(LANES);
        if matrix.across() {
            (0..panel_count)
                .into_par_iter()
                .for_each(|panel| pack(panel, 0..rows));
        } else {
            let blocks = (0..rows.div_ceil(BLOCK)).into_par_iter();
            blocks.for_each(|block| {
                let rows = block * BLOCK..((block + 1) * BLOCK).min(rows);
                (0..panel_count).for_each(|panel| pack(panel, rows.clone()));
            });
        }
        Self {
            memory,
            precision,
            rows,
            columns,
        }
    }

    fn panels(&self) -> &[f32] {
        let lines = self.precision.words(self.rows);
        &self.memory[..self.columns.div_ceil(LANES) * lines * LANES]
    }

    /// `c` [m, n] ← (`c` +) scale·`x`·matrix + bias, for `x` [m, k]. `scratch` is reused between
    /// calls.
    ///
    /// # Panics
    /// If the sizes do not fit.
    pub fn multiply(&self, x: &[f32], epilogue: Epilogue<'_>, scratch: &mut Buffer, c: &mut [f32]) {
        self.multiply_on(isa(), x, epilogue, scratch, c);
    }

    fn multiply_on(
        &self,
        isa: Isa,
        x: &[f32],
        epilogue: Epilogue<'_>,
        scratch: &mut Buffer,
        c: &mut [f32],
    ) {
        let (k, n) = (self.rows, self.columns);
        let m = c.len() / n;
        assert_eq!((x.len(), c.len()), (m * k, m * n), "sizes of a product");
        assert!(epilogue.bias.is_none_or(|bias| bias.len() == n));
        let groups = row_groups(isa, self.precision, m);
        let rows = match self.precision {
            Precision::F32 => interleave(isa, x, k, &groups, scratch),
            Precision::Bf16 => interleave_pairs(isa, x, k, scratch),
        };
        let c = Shared::new(c);
        let line = self.precision.words(k) * LANES;
        let panels = self.panels().par_chunks_exact(line.max(1)).enumerate();
        panels.for_each(|(panel, words)| {
            let first = panel * LANES;
            let work = Work {
                groups: &groups,
                columns: first..(first + LANES).min(n),
                epilogue,
                c,
                n,
            };
            match self.precision {
                Precision::F32 => multiply_plain(isa, &work, rows, words),
                Precision::Bf16 => {
                    let (rows, words) = (bytemuck::cast_slice(rows), bytemuck::cast_slice(words));
                    multiply_pairs(isa, &work, rows, words);
                }
            }
        });
    }
}

/// How many rows each call of the inner loop takes: as many as fit in registers.
fn row_groups(isa: Isa, precision: Precision, m: usize) -> Vec<usize> {
    let sizes: &[usize] = match (isa, precision) {
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512Bf16, _) | (Isa::Avx512, Precision::F32) => &[16, 8, 4, 2, 1],
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2, Precision::F32) => &[6, 5, 4, 2, 1],
        _ => &[4, 2, 1],
    };
    let mut groups = Vec::with_capacity(m / sizes[0] + 4);
    let mut left = m;
    for size in sizes {
        while left >= *size {
            groups.push(*size);
            left -= size;
        }
    }
    groups
}

/// Packs the rows of `x` [m, k] in groups, each [k, rows of the group].
fn interleave<'a>(
    isa: Isa,
    x: &[f32],
    k: usize,
    groups: &[usize],
    packed: &'a mut Buffer,
) -> &'a [f32] {
    let packed = packed.at_least(x.len());
    let mut first = 0;
    for group in groups {
        let words = &mut packed[first * k..(first + group) * k];
        pack_rows(isa, Precision::F32, x, k, first..first + group, words);
        first += group;
    }
    packed
}

/// Packs `x` [m, k] in blocks of sixteen rows, two neighbours in a word: [⌈k/2⌉, 16] each.
fn interleave_pairs<'a>(isa: Isa, x: &[f32], k: usize, packed: &'a mut Buffer) -> &'a [f32] {
    let size = Precision::Bf16.words(k) * SIDE;
    let m = x.len() / k.max(1);
    let packed = packed.at_least(m.div_ceil(SIDE) * size);
    for (block, words) in packed.chunks_exact_mut(size.max(1)).enumerate() {
        let first = block * SIDE;
        pack_rows(
            isa,
            Precision::Bf16,
            x,
            k,
            first..m.min(first + SIDE),
            words,
        );
    }
    packed
}

/// Packs some rows of `x` [m, k] side by side. In bf16 they are padded to sixteen.
fn pack_rows(
    isa: Isa,
    precision: Precision,
    x: &[f32],
    k: usize,
    rows: Range<usize>,
    words: &mut [f32],
) {
    let vectors = Vectors {
        data: Numbers::F32(&x[rows.start * k..]),
        apart: k,
        along: 1,
    };
    let stride = match precision {
        Precision::F32 => rows.len(),
        Precision::Bf16 => SIDE,
    };
    let words = bytemuck::cast_slice_mut(words);
    pack_on(isa, precision, vectors, [rows.len(), k], words, stride);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Write;
    use crate::cpu::numbers::words;
    use crate::cpu::precision::bf16_round;
    use crate::cpu::simd::all;
    use crate::cpu::testing::numbers;

    /// Memory with other contents.
    fn used() -> Buffer {
        let mut memory = Buffer::zeroed(1000);
        memory.fill(9.0);
        memory
    }

    #[test]
    fn products_of_any_number_of_rows() {
        for [k, n] in [[1, 1], [7, 16], [33, 50], [20, 300]] {
            let (w, bias) = (numbers(k * n, 0.5), numbers(n, 0.7));
            let mut transposed = vec![0.0; k * n];
            (0..k * n).for_each(|i| transposed[i % n * k + i / n] = w[i]);
            let packed = PackedMatrix::new(Precision::F32, View::new(&w, n));
            let same = PackedMatrix::new(Precision::F32, View::new(&transposed, k).t());
            assert_eq!(packed.panels(), same.panels());
            assert_eq!((packed.rows, packed.columns), (k, n));
            let mut scratch = Buffer::default();
            for (m, isa) in (0..40).flat_map(|m| all().into_iter().map(move |isa| (m, isa))) {
                let (x, old) = (numbers(m * k, 0.1), numbers(m * n, 0.2));
                let mut c = old.clone();
                let epilogue = Epilogue {
                    bias: Some(&bias),
                    scale: 0.5,
                    write: Write::Add,
                };
                packed.multiply_on(isa, &x, epilogue, &mut scratch, &mut c);
                for i in 0..m * n {
                    let (row, column) = (i / n, i % n);
                    let product: f32 = (0..k).map(|j| x[row * k + j] * w[j * n + column]).sum();
                    assert!((c[i] - old[i] - 0.5 * product - bias[column]).abs() < 1e-5);
                }
                let mut d = c.clone();
                let plain = Epilogue {
                    bias: None,
                    scale: 1.0,
                    write: Write::Over,
                };
                packed.multiply_on(isa, &x, plain, &mut scratch, &mut d);
                let want = |i: usize| 2.0 * (c[i] - old[i] - bias[i % n]);
                assert!((0..m * n).all(|i| (d[i] - want(i)).abs() < 2e-5));
            }
        }
    }

    /// Products in bf16 equal f32 products of rounded operands, on every instruction set.
    #[test]
    fn products_in_bf16_of_any_number_of_rows() {
        let round = |x: &[f32]| -> Vec<f32> { x.iter().map(|x| bf16_round(*x)).collect() };
        for [k, n] in [[1, 1], [7, 16], [33, 50], [70, 300]] {
            let (w, bias) = (numbers(k * n, 0.5), numbers(n, 0.7));
            let rounded = PackedMatrix::new(Precision::F32, View::new(&round(&w), n));
            let mut transposed = vec![0.0; k * n];
            (0..k * n).for_each(|i| transposed[i % n * k + i / n] = w[i]);
            let bits = |packed: &PackedMatrix| -> Vec<u32> {
                packed.panels().iter().map(|x| x.to_bits()).collect()
            };
            for isa in all() {
                let packed =
                    PackedMatrix::within_on(isa, used(), Precision::Bf16, View::new(&w, n));
                let same = View::new(&transposed, k).t();
                let same = PackedMatrix::within_on(isa, used(), Precision::Bf16, same);
                assert_eq!(bits(&packed), bits(&same));
                let words = [&w, &transposed].map(|x| words(x));
                let [held, turned] = [&words[0], &words[1]].map(|x| Numbers::Bf16(x));
                for held in [View::of(held, n), View::of(turned, k).t()] {
                    let same = PackedMatrix::within_on(isa, used(), Precision::Bf16, held);
                    assert_eq!(bits(&packed), bits(&same));
                    let same = PackedMatrix::within_on(isa, used(), Precision::F32, held);
                    assert_eq!(bits(&rounded), bits(&same));
                }
                let mut scratch = Buffer::default();
                for m in (0..20).chain([31, 37]) {
                    let (x, old) = (numbers(m * k, 0.1), numbers(m * n, 0.2));
                    for write in [Write::Over, Write::Add] {
                        let epilogue = Epilogue {
                            bias: Some(&bias),
                            scale: 0.5,
                            write,
                        };
                        let (mut c, mut want) = (old.clone(), old.clone());
                        packed.multiply_on(isa, &x, epilogue, &mut scratch, &mut c);
                        rounded.multiply_on(isa, &round(&x), epilogue, &mut scratch, &mut want);
                        for (c, want) in c.iter().zip(want) {
                            assert!((c - want).abs() < 1e-5, "{isa:?} {m} {k} {n}: {c} {want}");
                        }
                    }
                }
            }
        }
    }
}
