//! Products of few rows with a matrix packed once: what decoding spends its time on.

use super::Buffer;
use super::matmul::{View, Write};
use super::simd::{Isa, LANES, dispatch, fma, isa, prefetch};
use super::split::Shared;
use rayon::prelude::*;

/// Panels that make one piece of work.
const PANELS: usize = 8;

/// Floats that are asked for before they are needed: the processor's own prefetching stops at
/// pages.
const AHEAD: usize = 32 * LANES;

/// A matrix [k, n] cut into panels of 16 columns, each row-major [k, 16] and zero beyond n, so that
/// a product streams it once from front to back.
#[derive(Debug)]
pub struct PackedMatrix {
    panels: Buffer,
    rows: usize,
    columns: usize,
}

/// What is added to a product before it is written.
#[derive(Debug, Clone, Copy)]
pub struct Epilogue<'a> {
    /// One number a column, if any.
    pub bias: Option<&'a [f32]>,
    /// What the product is multiplied by, before the bias.
    pub scale: f32,
    /// Whether the destination is added to.
    pub write: Write,
}

impl PackedMatrix {
    /// Packs a matrix [k, n].
    #[must_use]
    pub fn new(matrix: View<'_>) -> Self {
        let (rows, columns) = (matrix.rows(), matrix.columns());
        let mut panels = Buffer::zeroed(columns.div_ceil(LANES) * rows * LANES);
        panels
            .par_chunks_mut((rows * LANES).max(1))
            .enumerate()
            .for_each(|(panel, packed)| {
                let first = panel * LANES;
                let count = LANES.min(columns - first);
                matrix.copy_columns(first, count, packed, LANES);
            });
        Self {
            panels,
            rows,
            columns,
        }
    }

    /// k, the number of inputs.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.rows
    }

    /// n, the number of outputs.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.columns
    }

    /// `c` [m, n] ← (`c` +) scale·`x`·matrix + bias, for `x` [m, k]. `scratch` is reused between
    /// calls.
    ///
    /// # Panics
    /// If the sizes do not fit.
    pub fn multiply(
        &self,
        x: &[f32],
        epilogue: Epilogue<'_>,
        scratch: &mut Vec<f32>,
        c: &mut [f32],
    ) {
        self.multiply_on(isa(), x, epilogue, scratch, c);
    }

    fn multiply_on(
        &self,
        isa: Isa,
        x: &[f32],
        epilogue: Epilogue<'_>,
        scratch: &mut Vec<f32>,
        c: &mut [f32],
    ) {
        let (k, n) = (self.rows, self.columns);
        let m = c.len() / n;
        assert_eq!((x.len(), c.len()), (m * k, m * n), "sizes of a product");
        assert!(epilogue.bias.is_none_or(|bias| bias.len() == n));
        let groups = row_groups(isa, m);
        interleave(x, k, &groups, scratch);
        let (rows, c) = (scratch.as_slice(), Shared::new(c));
        let panels = self
            .panels
            .par_chunks((k * LANES * PANELS).max(1))
            .enumerate();
        panels.for_each(|(task, panels)| {
            for (i, panel) in panels.chunks_exact(k * LANES).enumerate() {
                let first = (task * PANELS + i) * LANES;
                let columns = first..(first + LANES).min(n);
                multiply_panel(isa, rows, &groups, panel, columns, epilogue, c, n);
            }
        });
    }
}

/// How many rows each call of the inner loop takes: as many as the registers hold.
fn row_groups(isa: Isa, m: usize) -> Vec<usize> {
    let sizes: &[usize] = match isa {
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => &[16, 8, 4, 2, 1],
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => &[6, 5, 4, 2, 1],
        Isa::Portable => &[4, 2, 1],
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

/// Packs `x` [m, k] group by group as [k, rows of the group].
fn interleave(x: &[f32], k: usize, groups: &[usize], packed: &mut Vec<f32>) {
    packed.resize(x.len(), 0.0);
    let mut start = 0;
    for group in groups {
        let range = start..start + group * k;
        let into = &mut packed[range.clone()];
        for (i, row) in x[range].chunks_exact(k.max(1)).enumerate() {
            let slots = into[i..].iter_mut().step_by(*group);
            slots.zip(row).for_each(|(slot, x)| *slot = *x);
        }
        start += group * k;
    }
}

/// The sums of `R` rows with one panel.
#[inline(always)]
fn accumulate<const FUSED: bool, const R: usize>(rows: &[f32], panel: &[f32]) -> [[f32; LANES]; R] {
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

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn group_body<const FUSED: bool, const R: usize>(
    rows: &[f32],
    panel: &[f32],
    first_row: usize,
    columns: &std::ops::Range<usize>,
    epilogue: Epilogue<'_>,
    c: Shared<'_>,
    n: usize,
) {
    let sums = accumulate::<FUSED, R>(rows, panel);
    for (r, sums) in sums.iter().enumerate() {
        let start = (first_row + r) * n;
        // SAFETY: no other task has these columns.
        #[allow(unsafe_code)]
        let c = unsafe { c.part(start + columns.start..start + columns.end) };
        for (i, (c, sum)) in c.iter_mut().zip(sums).enumerate() {
            let bias = epilogue.bias.map_or(0.0, |bias| bias[columns.start + i]);
            let old = if epilogue.write == Write::Add {
                *c
            } else {
                0.0
            };
            *c = fma::<FUSED>(epilogue.scale, *sum, bias) + old;
        }
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn panel_body<const FUSED: bool>(
    mut rows: &[f32],
    groups: &[usize],
    panel: &[f32],
    columns: std::ops::Range<usize>,
    epilogue: Epilogue<'_>,
    c: Shared<'_>,
    n: usize,
) {
    let k = panel.len() / LANES;
    let mut first = 0;
    for group in groups {
        let (these, rest) = rows.split_at(group * k);
        rows = rest;
        match group {
            16 => group_body::<FUSED, 16>(these, panel, first, &columns, epilogue, c, n),
            8 => group_body::<FUSED, 8>(these, panel, first, &columns, epilogue, c, n),
            6 => group_body::<FUSED, 6>(these, panel, first, &columns, epilogue, c, n),
            5 => group_body::<FUSED, 5>(these, panel, first, &columns, epilogue, c, n),
            4 => group_body::<FUSED, 4>(these, panel, first, &columns, epilogue, c, n),
            2 => group_body::<FUSED, 2>(these, panel, first, &columns, epilogue, c, n),
            _ => group_body::<FUSED, 1>(these, panel, first, &columns, epilogue, c, n),
        }
        first += group;
    }
}
dispatch!(fn multiply_panel = panel_body(
    rows: &[f32],
    groups: &[usize],
    panel: &[f32],
    columns: std::ops::Range<usize>,
    epilogue: Epilogue<'_>,
    c: Shared<'_>,
    n: usize,
));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::simd::all;

    fn numbers(n: usize, seed: f32) -> Vec<f32> {
        (0..n).map(|i| (i as f32 * 0.37 + seed).sin()).collect()
    }

    #[test]
    fn products_of_any_number_of_rows() {
        for [k, n] in [[1, 1], [7, 16], [33, 50], [20, 300]] {
            let (w, bias) = (numbers(k * n, 0.5), numbers(n, 0.7));
            let mut transposed = vec![0.0; k * n];
            (0..k * n).for_each(|i| transposed[i % n * k + i / n] = w[i]);
            let packed = PackedMatrix::new(View::new(&w, n));
            let same = PackedMatrix::new(View::new(&transposed, k).t());
            assert_eq!(*packed.panels, *same.panels);
            assert_eq!((packed.inputs(), packed.outputs()), (k, n));
            let mut scratch = Vec::new();
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
}
