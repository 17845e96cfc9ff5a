//! Sums over the rows of a matrix: the gradients of biases and of the weights of normalizations.

use super::columns::HostColumns;
use super::norm::GroupStats;
use super::simd::{dispatch, dot, fma, isa};
use rayon::prelude::*;
use std::ops::Range;

/// Columns that make one piece of work.
const COLUMNS: usize = 64;
/// Rows of several groups are cut into at most `PIECES` pieces of at least `PIECE` numbers each.
const PIECES: usize = 64;
const PIECE: usize = 1 << 15;

/// The groups over which the gradients of a normalization's weights are summed.
#[derive(Clone, Copy)]
pub(super) struct Groups<'a> {
    pub(super) x: HostColumns<'a>,
    pub(super) dy: HostColumns<'a>,
    pub(super) stats: &'a [GroupStats],
    /// The width of a group.
    pub(super) width: usize,
}

#[inline(always)]
fn weights_body<const FUSED: bool>(
    all: Groups<'_>,
    rows: Range<usize>,
    first: usize,
    dw: &mut [f32],
    db: &mut [f32],
) {
    let (n, groups) = (dw.len(), all.x.width() / all.width);
    let (mut weight, mut bias) = ([0.0; COLUMNS], [0.0; COLUMNS]);
    for row in rows {
        let (x, dy) = (all.x.row(row), all.dy.row(row));
        let stats = &all.stats[row * groups..][..groups];
        for (group, stats) in stats.iter().enumerate() {
            let x = &x[group * all.width + first..][..n];
            let dy = &dy[group * all.width + first..][..n];
            for (((weight, bias), x), dy) in weight.iter_mut().zip(&mut bias).zip(x).zip(dy) {
                *weight = fma::<FUSED>(*dy, (x - stats.mean) * stats.scale, *weight);
                *bias += dy;
            }
        }
    }
    dw.iter_mut()
        .zip(&weight)
        .for_each(|(sum, new)| *sum += new);
    db.iter_mut().zip(&bias).for_each(|(sum, new)| *sum += new);
}
dispatch!(
    pub(super) fn weight_gradients = weights_body(all: Groups<'_>, rows: Range<usize>, first: usize, dw: &mut [f32], db: &mut [f32]));

/// The gradients of the weights of [`norm_rows`](super::norm_rows): adds to `dw`, and to `db`, which is empty if
/// there are no biases.
///
/// # Panics
/// If the sizes do not fit.
pub fn norm_backward_weights(
    (x, stats): (HostColumns<'_>, &[GroupStats]),
    dy: HostColumns<'_>,
    dw: &mut [f32],
    db: &mut [f32],
) {
    let (width, n) = (dw.len(), x.rows());
    let groups = x.width() / width;
    assert_eq!((x.width(), stats.len()), (groups * width, n * groups));
    assert_eq!((dy.rows(), dy.width()), (n, x.width()));
    assert!(db.is_empty() || db.len() == width);
    let (isa, all) = (
        isa(),
        Groups {
            x,
            dy,
            stats,
            width,
        },
    );
    if groups == 1 {
        let columns = dw.par_chunks_mut(COLUMNS).enumerate();
        if db.is_empty() {
            columns.for_each(|(i, dw)| weight_gradients(isa, all, 0..n, i * COLUMNS, dw, &mut []));
        } else {
            columns
                .zip(db.par_chunks_mut(COLUMNS))
                .for_each(|((i, dw), db)| weight_gradients(isa, all, 0..n, i * COLUMNS, dw, db));
        }
        return;
    }
    // Groups are narrow, so tasks are pieces of rows, and the sums of the pieces are added in a fixed order.
    let rows = n.div_ceil(PIECES).max(PIECE / x.width()).max(1);
    let mut sums = vec![0.0; n.div_ceil(rows) * 2 * width];
    let pieces = sums.par_chunks_exact_mut(2 * width).enumerate();
    pieces.for_each(|(piece, sums)| {
        let rows = piece * rows..((piece + 1) * rows).min(n);
        let (dw, db) = sums.split_at_mut(width);
        let columns = dw.chunks_mut(COLUMNS).zip(db.chunks_mut(COLUMNS));
        for (i, (dw, db)) in columns.enumerate() {
            weight_gradients(isa, all, rows.clone(), i * COLUMNS, dw, db);
        }
    });
    for sums in sums.chunks_exact(2 * width) {
        let (of_weight, of_bias) = sums.split_at(width);
        add(dw, of_weight);
        add(db, of_bias);
    }
}

/// `sums` += `x`, up to the length of the shorter one.
fn add(sums: &mut [f32], x: &[f32]) {
    sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += x);
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
dispatch!(
    pub(super) fn sums_of = sums_body(x: &[f32], width: usize, first: usize, sums: &mut [f32]));

/// Adds the sum of all rows of `x` [n, D] to `sums` \[D\]: the gradient of a bias.
///
/// # Panics
/// If the sizes do not fit.
pub fn add_column_sums(x: &[f32], sums: &mut [f32]) {
    let (width, isa) = (sums.len(), isa());
    assert_eq!(x.len() % width, 0);
    let columns = sums.par_chunks_mut(COLUMNS).enumerate();
    columns.for_each(|(i, sums)| sums_of(isa, x, width, i * COLUMNS, sums));
}

/// Σ aᵢbᵢ of two rows.
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
    use crate::cpu::dot_rows;

    #[test]
    fn column_sums_and_dots() {
        let x: Vec<f32> = (0..9 * 130).map(|i| (i as f32 * 0.61).sin()).collect();
        let mut sums = vec![1.0; 130];
        add_column_sums(&x, &mut sums);
        for (i, sum) in sums.iter().enumerate() {
            let want: f32 = 1.0 + (0..9).map(|row| x[row * 130 + i]).sum::<f32>();
            assert!((sum - want).abs() < 1e-5);
        }
        let want: f64 = x.iter().map(|x| f64::from(*x).powi(2)).sum();
        assert!((f64::from(dot_rows(&x, &x)) / want - 1.0).abs() < 1e-5);
    }
}
