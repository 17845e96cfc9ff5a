//! Products of few rows with a matrix packed once: what decoding spends its time on.

use super::Buffer;
use super::matmul::{View, Write};
use super::simd::{Isa, LANES, fma, isa, prefetch};
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
                let work = Work {
                    rows,
                    groups: &groups,
                    panel,
                    columns,
                    epilogue,
                    c,
                    n,
                };
                multiply_panel(isa, &work);
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

/// How the sums of `R` rows with one panel are taken: rows [k, R], panel [k, 16] → [R, 16].
trait Sums {
    fn of<const R: usize>(rows: &[f32], panel: &[f32]) -> [[f32; LANES]; R];
}

/// Left to the compiler, which keeps all sums in registers where there are few rows.
struct Plain<const FUSED: bool>;

impl<const FUSED: bool> Sums for Plain<FUSED> {
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

/// Spelled out for AVX-512: of 8 rows or more the compiler makes a vector of rows, and gathers it
/// from memory in each step.
#[cfg(target_arch = "x86_64")]
struct Wide;

#[cfg(target_arch = "x86_64")]
impl Sums for Wide {
    #[inline(always)]
    #[allow(unsafe_code)]
    fn of<const R: usize>(rows: &[f32], panel: &[f32]) -> [[f32; LANES]; R] {
        use std::arch::x86_64::{
            _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
        };
        let (rows, panel) = (rows.as_chunks::<R>().0, panel.as_chunks::<LANES>().0);
        let mut result = [[0.0; LANES]; R];
        // SAFETY: only `multiply_panel` names this, where the processor has AVX-512; each load and
        // store is of an array of 16 floats.
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

/// A panel, and what is multiplied by it.
struct Work<'a> {
    /// x, group by group.
    rows: &'a [f32],
    groups: &'a [usize],
    panel: &'a [f32],
    /// The columns of `c` [m, n] that the panel makes.
    columns: std::ops::Range<usize>,
    epilogue: Epilogue<'a>,
    c: Shared<'a>,
    n: usize,
}

#[inline(always)]
fn group_body<S: Sums, const R: usize>(work: &Work<'_>, rows: &[f32], first_row: usize) {
    let (columns, epilogue) = (&work.columns, work.epilogue);
    let sums = S::of::<R>(rows, work.panel);
    for (r, sums) in sums.iter().enumerate() {
        let start = (first_row + r) * work.n;
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
fn panel_body<S: Sums>(work: &Work<'_>) {
    let k = work.panel.len() / LANES;
    let (mut rows, mut first) = (work.rows, 0);
    for group in work.groups {
        let (these, rest) = rows.split_at(group * k);
        rows = rest;
        match group {
            16 => group_body::<S, 16>(work, these, first),
            8 => group_body::<S, 8>(work, these, first),
            6 => group_body::<S, 6>(work, these, first),
            5 => group_body::<S, 5>(work, these, first),
            4 => group_body::<S, 4>(work, these, first),
            2 => group_body::<S, 2>(work, these, first),
            _ => group_body::<S, 1>(work, these, first),
        }
        first += group;
    }
}

/// [`dispatch!`](super::simd::dispatch) by hand: AVX-512 has a body of its own.
#[allow(unsafe_code)]
fn multiply_panel(isa: Isa, work: &Work<'_>) {
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx2,fma")]
    fn avx512(work: &Work<'_>) {
        panel_body::<Wide>(work);
    }
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,fma")]
    fn avx2(work: &Work<'_>) {
        panel_body::<Plain<true>>(work);
    }
    match isa {
        // SAFETY: `isa()` found these features, and tests ask only for what it finds.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { avx512(work) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { avx2(work) },
        Isa::Portable => panel_body::<Plain<false>>(work),
    }
}

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
