//! Layer normalization (Ba et al. 2016): y = (x − mean)/√(var + ε)·w + b, each row by itself, with
//! the biased variance.

use super::simd::{LANES, dispatch, dot, fma, isa, sum_lanes};
use super::split::{over_rows, rows_per_task};
use rayon::prelude::*;

/// Columns that make one piece of work in a sum over rows.
const COLUMNS: usize = 64;

/// What one row's normalization needs again: its mean and 1/√(var + ε).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RowStats {
    mean: f32,
    scale: f32,
}

#[inline(always)]
fn stats_body<const FUSED: bool>(x: &[f32], epsilon: f32) -> RowStats {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let n = x.len() as f32;
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] += chunk[i];
        }
    }
    let mean = (sum_lanes(lanes) + rest.iter().sum::<f32>()) / n;
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for i in 0..LANES {
            let centred = chunk[i] - mean;
            lanes[i] = fma::<FUSED>(centred, centred, lanes[i]);
        }
    }
    let rest: f32 = rest.iter().map(|x| (x - mean) * (x - mean)).sum();
    let variance = (sum_lanes(lanes) + rest) / n;
    let scale = 1.0 / (variance + epsilon).sqrt();
    RowStats { mean, scale }
}
dispatch!(fn stats_of = stats_body(x: &[f32], epsilon: f32) -> RowStats);

#[inline(always)]
fn apply_body<const FUSED: bool>(
    x: &[f32],
    stats: RowStats,
    weight: &[f32],
    bias: &[f32],
    y: &mut [f32],
) {
    for (((y, x), w), b) in y.iter_mut().zip(x).zip(weight).zip(bias) {
        *y = fma::<FUSED>((x - stats.mean) * stats.scale, *w, *b);
    }
}
dispatch!(fn apply = apply_body(x: &[f32], stats: RowStats, weight: &[f32], bias: &[f32], y: &mut [f32]));

/// Mean and scale of each row of `x` [n, D].
///
/// # Panics
/// If the sizes do not fit.
pub fn layer_norm_stats(x: &[f32], epsilon: f32, stats: &mut [RowStats]) {
    assert!(!stats.is_empty() || x.is_empty());
    if stats.is_empty() {
        return;
    }
    let (width, isa) = (x.len() / stats.len(), isa());
    assert_eq!(x.len(), width * stats.len());
    let rows = rows_per_task(width);
    stats
        .par_chunks_mut(rows)
        .zip(x.par_chunks(rows * width))
        .for_each(|(stats, x)| {
            for (stats, x) in stats.iter_mut().zip(x.chunks_exact(width)) {
                *stats = stats_of(isa, x, epsilon);
            }
        });
}

/// y ← the norm of each row of `x`, given its stats; [n, D].
///
/// # Panics
/// If the sizes do not fit.
pub fn layer_norm(x: &[f32], stats: &[RowStats], weight: &[f32], bias: &[f32], y: &mut [f32]) {
    let (width, isa) = (weight.len(), isa());
    assert_eq!(
        (x.len(), y.len()),
        (stats.len() * width, stats.len() * width)
    );
    assert_eq!(bias.len(), width);
    over_rows(y, width, |first, y| {
        for (i, y) in y.chunks_exact_mut(width).enumerate() {
            let row = first + i;
            apply(isa, &x[row * width..][..width], stats[row], weight, bias, y);
        }
    });
}

#[inline(always)]
fn input_body<const FUSED: bool>(
    x: &[f32],
    stats: RowStats,
    weight: &[f32],
    dy: &[f32],
    dx: &mut [f32],
) {
    let n = x.len() as f32;
    let RowStats { mean, scale } = stats;
    let mut gradient = [0.0; LANES];
    let mut along = [0.0; LANES];
    let chunks = x.len() / LANES * LANES;
    let all = x[..chunks].as_chunks::<LANES>().0.iter();
    let all = all
        .zip(weight.as_chunks::<LANES>().0)
        .zip(dy.as_chunks::<LANES>().0);
    for ((x, w), dy) in all {
        for i in 0..LANES {
            let g = dy[i] * w[i];
            gradient[i] += g;
            along[i] = fma::<FUSED>(g, (x[i] - mean) * scale, along[i]);
        }
    }
    let (mut gradient, mut along) = (sum_lanes(gradient), sum_lanes(along));
    for i in chunks..x.len() {
        let g = dy[i] * weight[i];
        gradient += g;
        along += g * (x[i] - mean) * scale;
    }
    let (gradient, along) = (gradient / n, along / n);
    for (((dx, x), w), dy) in dx.iter_mut().zip(x).zip(weight).zip(dy) {
        let normed = (x - mean) * scale;
        let g = fma::<FUSED>(-along, normed, fma::<FUSED>(*dy, *w, -gradient));
        *dx = fma::<FUSED>(scale, g, *dx);
    }
}
dispatch!(fn input_gradient = input_body(x: &[f32], stats: RowStats, weight: &[f32], dy: &[f32], dx: &mut [f32]));

#[inline(always)]
fn columns_body<const FUSED: bool>(
    x: &[f32],
    stats: &[RowStats],
    dy: &[f32],
    width: usize,
    first: usize,
    dw: &mut [f32],
    db: &mut [f32],
) {
    let n = dw.len();
    let (mut weight, mut bias) = ([0.0; COLUMNS], [0.0; COLUMNS]);
    for (row, stats) in stats.iter().enumerate() {
        let x = &x[row * width + first..][..n];
        let dy = &dy[row * width + first..][..n];
        for (((weight, bias), x), dy) in weight.iter_mut().zip(&mut bias).zip(x).zip(dy) {
            *weight = fma::<FUSED>(*dy, (x - stats.mean) * stats.scale, *weight);
            *bias += dy;
        }
    }
    dw.iter_mut()
        .zip(&weight)
        .for_each(|(sum, new)| *sum += new);
    db.iter_mut().zip(&bias).for_each(|(sum, new)| *sum += new);
}
dispatch!(fn column_gradients = columns_body(x: &[f32], stats: &[RowStats], dy: &[f32], width: usize, first: usize, dw: &mut [f32], db: &mut [f32]));

/// The backward pass of [`layer_norm`] to its input: adds to `dx` [n, D].
///
/// # Panics
/// If the sizes do not fit.
pub fn layer_norm_backward(
    x: &[f32],
    stats: &[RowStats],
    weight: &[f32],
    dy: &[f32],
    dx: &mut [f32],
) {
    let (width, isa) = (weight.len(), isa());
    let n = stats.len() * width;
    assert_eq!((x.len(), dy.len(), dx.len()), (n, n, n));
    over_rows(dx, width, |first, dx| {
        for (i, dx) in dx.chunks_exact_mut(width).enumerate() {
            let (row, range) = (first + i, (first + i) * width..(first + i + 1) * width);
            input_gradient(isa, &x[range.clone()], stats[row], weight, &dy[range], dx);
        }
    });
}

/// The same to its parameters: adds to `dw` \[D\] and `db` \[D\].
///
/// # Panics
/// If the sizes do not fit.
pub fn layer_norm_backward_affine(
    x: &[f32],
    stats: &[RowStats],
    dy: &[f32],
    dw: &mut [f32],
    db: &mut [f32],
) {
    let (width, isa) = (dw.len(), isa());
    let n = stats.len() * width;
    assert_eq!((x.len(), dy.len(), db.len()), (n, n, width));
    let columns = dw
        .par_chunks_mut(COLUMNS)
        .zip(db.par_chunks_mut(COLUMNS))
        .enumerate();
    columns.for_each(|(i, (dw, db))| {
        column_gradients(isa, x, stats, dy, width, i * COLUMNS, dw, db);
    });
}

#[inline(always)]
fn sums_body<const FUSED: bool>(x: &[f32], width: usize, first: usize, sums: &mut [f32]) {
    let n = sums.len();
    let mut lanes = [0.0; COLUMNS];
    for row in x.chunks_exact(width) {
        for (sum, x) in lanes.iter_mut().zip(&row[first..][..n]) {
            *sum += x;
        }
    }
    sums.iter_mut()
        .zip(&lanes)
        .for_each(|(sum, new)| *sum += new);
}
dispatch!(fn sums_of = sums_body(x: &[f32], width: usize, first: usize, sums: &mut [f32]));

/// Adds the sum of all rows of `x` [n, D] to `sums` \[D\]: a bias's gradient.
///
/// # Panics
/// If the sizes do not fit.
pub fn add_column_sums(x: &[f32], sums: &mut [f32]) {
    let (width, isa) = (sums.len(), isa());
    assert_eq!(x.len() % width, 0);
    let columns = sums.par_chunks_mut(COLUMNS).enumerate();
    columns.for_each(|(i, sums)| sums_of(isa, x, width, i * COLUMNS, sums));
}

/// Σ aᵢbᵢ of two rows, for heads of one output.
#[must_use]
pub fn dot_rows(a: &[f32], b: &[f32]) -> f32 {
    #[inline(always)]
    fn body<const FUSED: bool>(a: &[f32], b: &[f32]) -> f32 {
        dot::<FUSED>(a, b)
    }
    dispatch!(fn run = body(a: &[f32], b: &[f32]) -> f32);
    run(isa(), a, b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::simd::all;

    fn numbers(n: usize, seed: f32) -> Vec<f32> {
        (0..n)
            .map(|i| (i as f32 * 0.61 + seed).sin() * 2.0 + 0.3)
            .collect()
    }

    fn naive(x: &[f64], w: &[f64], b: &[f64], epsilon: f64) -> Vec<f64> {
        let n = w.len() as f64;
        let row = |x: &[f64]| -> Vec<f64> {
            let mean = x.iter().sum::<f64>() / n;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
            let scale = 1.0 / (variance + epsilon).sqrt();
            (0..w.len())
                .map(|i| (x[i] - mean) * scale * w[i] + b[i])
                .collect()
        };
        x.chunks(w.len()).flat_map(row).collect()
    }

    fn wide(x: &[f32]) -> Vec<f64> {
        x.iter().copied().map(f64::from).collect()
    }

    #[test]
    fn forward_and_backward_against_differences() {
        for (rows, width, epsilon) in [(1, 1, 1e-5), (3, 5, 1e-5), (7, 67, 1e-2), (130, 96, 1e-6)] {
            let (x, w, b) = (
                numbers(rows * width, 0.0),
                numbers(width, 1.0),
                numbers(width, 2.0),
            );
            let g = numbers(rows * width, 3.0);
            let mut stats = vec![RowStats::default(); rows];
            layer_norm_stats(&x, epsilon, &mut stats);
            let mut y = vec![0.0; x.len()];
            layer_norm(&x, &stats, &w, &b, &mut y);
            let want = naive(&wide(&x), &wide(&w), &wide(&b), f64::from(epsilon));
            for (y, want) in y.iter().zip(&want) {
                assert!((f64::from(*y) - want).abs() < 2e-5, "{y} {want}");
            }
            let (mut dx, mut dw, mut db) = (vec![1.0; x.len()], vec![2.0; width], vec![3.0; width]);
            layer_norm_backward(&x, &stats, &w, &g, &mut dx);
            layer_norm_backward_affine(&x, &stats, &g, &mut dw, &mut db);
            let loss = |x: &[f64], w: &[f64], b: &[f64]| -> f64 {
                let y = naive(x, w, b, f64::from(epsilon));
                y.iter().zip(&g).map(|(y, g)| y * f64::from(*g)).sum()
            };
            let (x, w, b) = (wide(&x), wide(&w), wide(&b));
            let difference = |of: &[f64], i: usize, loss: &dyn Fn(&[f64]) -> f64| {
                let (mut up, mut down) = (of.to_vec(), of.to_vec());
                up[i] += 1e-5;
                down[i] -= 1e-5;
                (loss(&up) - loss(&down)) / 2e-5
            };
            let close = |got: f32, want: f64| {
                assert!(
                    (f64::from(got) - want).abs() < 2e-4 * (1.0 + want.abs()),
                    "{got} {want}"
                );
            };
            for i in (0..x.len()).step_by(1 + x.len() / 50) {
                close(dx[i] - 1.0, difference(&x, i, &|x| loss(x, &w, &b)));
            }
            for i in 0..width {
                close(dw[i] - 2.0, difference(&w, i, &|w| loss(&x, w, &b)));
                close(db[i] - 3.0, difference(&b, i, &|b| loss(&x, &w, b)));
            }
        }
    }

    #[test]
    fn instruction_sets_agree() {
        let (x, w, dy) = (numbers(101, 0.0), numbers(101, 1.0), numbers(101, 2.0));
        let run = |isa| {
            let stats = stats_of(isa, &x, 1e-5);
            let mut dx = vec![0.0; 101];
            input_gradient(isa, &x, stats, &w, &dy, &mut dx);
            let mut sums = vec![0.0; 37];
            let (mut dw, mut db) = (vec![0.0; 37], vec![0.0; 37]);
            column_gradients(isa, &x, &[stats], &dy, 101, 64, &mut dw, &mut db);
            sums_of(isa, &x, 101, 64, &mut sums);
            [dx, dw, db, sums, vec![stats.mean, stats.scale]].concat()
        };
        let want = run(crate::cpu::simd::Isa::Portable);
        for isa in all() {
            for (got, want) in run(isa).iter().zip(&want) {
                assert!((got - want).abs() < 1e-5, "{isa:?} {got} {want}");
            }
        }
    }

    #[test]
    fn column_sums_and_dots() {
        let x = numbers(9 * 130, 0.0);
        let mut sums = vec![1.0; 130];
        add_column_sums(&x, &mut sums);
        for (i, sum) in sums.iter().enumerate() {
            let want: f32 = 1.0 + (0..9).map(|row| x[row * 130 + i]).sum::<f32>();
            assert!((sum - want).abs() < 1e-5);
        }
        let want: f64 = wide(&x).iter().map(|x| x * x).sum();
        assert!((f64::from(dot_rows(&x, &x)) / want - 1.0).abs() < 1e-5);
    }
}
