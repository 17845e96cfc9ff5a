//! Layer and root-mean-square normalization of groups of numbers in rows, with their backward passes.
//! [`NormKind`] has the formulas.

use super::columns::{HostColumns, HostColumnsMut};
use super::simd::{LANES, dispatch, dot, fma, isa, sum_lanes};
use super::split::rows_per_task;
use crate::{Norm, NormKind, Write};
use rayon::prelude::*;
use std::borrow::Cow;
use std::cell::RefCell;

/// The statistics of one group: the mean that is subtracted, which is 0 for RMS normalization, and the factor of
/// the centred numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct GroupStats {
    pub(super) mean: f32,
    pub(super) scale: f32,
}

#[inline(always)]
fn layer_stats<const FUSED: bool>(x: &[f32], epsilon: f32) -> GroupStats {
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
    GroupStats { mean, scale }
}

#[inline(always)]
fn rms_stats<const FUSED: bool>(x: &[f32], epsilon: f32) -> GroupStats {
    let mean_square = dot::<FUSED>(x, x) / x.len() as f32;
    GroupStats {
        mean: 0.0,
        scale: 1.0 / (mean_square + epsilon).sqrt(),
    }
}

#[inline(always)]
fn stats_body<const FUSED: bool>(norm: Norm, x: &[f32], stats: &mut [GroupStats]) {
    let groups = x.chunks_exact(x.len() / stats.len()).zip(stats);
    // Loops, not closures: a closure may not be inlined, and is then compiled without the instruction set.
    match norm.kind {
        NormKind::Layer => {
            for (x, stats) in groups {
                *stats = layer_stats::<FUSED>(x, norm.epsilon);
            }
        }
        NormKind::Rms => {
            for (x, stats) in groups {
                *stats = rms_stats::<FUSED>(x, norm.epsilon);
            }
        }
    }
}
dispatch!(
    /// The statistics of the groups of one row.
    pub(super) fn stats_of_row = stats_body(norm: Norm, x: &[f32], stats: &mut [GroupStats]));

#[inline(always)]
fn apply_body<const FUSED: bool>(
    x: &[f32],
    stats: &[GroupStats],
    weight: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    let groups = x
        .chunks_exact(weight.len())
        .zip(y.chunks_exact_mut(weight.len()));
    for ((x, y), stats) in groups.zip(stats) {
        let all = y.iter_mut().zip(x).zip(weight);
        match bias {
            Some(bias) => {
                for (((y, x), w), b) in all.zip(bias) {
                    *y = fma::<FUSED>((x - stats.mean) * stats.scale, *w, *b);
                }
            }
            None => {
                for ((y, x), w) in all {
                    *y = (x - stats.mean) * stats.scale * w;
                }
            }
        }
    }
}
dispatch!(fn apply = apply_body(x: &[f32], stats: &[GroupStats], weight: &[f32], bias: Option<&[f32]>, y: &mut [f32]));

/// The weights plus the offset of the normalization.
fn factors(norm: Norm, weight: &[f32]) -> Cow<'_, [f32]> {
    if norm.weight_offset == 0.0 {
        return weight.into();
    }
    weight.iter().map(|w| norm.weight_offset + w).collect()
}

/// The statistics of each group of `x`, row by row.
///
/// # Panics
/// If the rows are not cut into groups of equal width.
pub fn norm_stats(norm: Norm, x: HostColumns<'_>, stats: &mut [GroupStats]) {
    let (n, isa) = (x.rows(), isa());
    if n == 0 {
        return;
    }
    let groups = stats.len() / n;
    assert_eq!(stats.len(), n * groups, "stats of every group");
    assert!(
        groups > 0 && x.width().is_multiple_of(groups),
        "groups of one width"
    );
    let rows = rows_per_task(x.width());
    let pieces = stats.par_chunks_mut(rows * groups).enumerate();
    pieces.for_each(|(piece, stats)| {
        for (i, stats) in stats.chunks_exact_mut(groups).enumerate() {
            stats_of_row(isa, norm, x.row(piece * rows + i), stats);
        }
    });
}

/// `y` ← the normalization of the groups of `x`, from their statistics.
///
/// # Panics
/// If the sizes do not fit.
pub fn norm_rows(
    norm: Norm,
    x: HostColumns<'_>,
    stats: &[GroupStats],
    weight: &[f32],
    bias: Option<&[f32]>,
    y: HostColumnsMut<'_>,
) {
    let groups = check(x, stats, weight);
    y.check_like(x);
    assert!(bias.is_none_or(|bias| bias.len() == weight.len()));
    let (weight, isa) = (factors(norm, weight), isa());
    y.for_each_row(|row, y| {
        let stats = &stats[row * groups..][..groups];
        apply(isa, x.row(row), stats, &weight, bias, y);
    });
}

#[inline(always)]
fn input_body<const FUSED: bool>(
    kind: NormKind,
    x: &[f32],
    stats: &[GroupStats],
    weight: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    into: Write,
) {
    let width = weight.len();
    let groups = x.chunks_exact(width).zip(dy.chunks_exact(width));
    let groups = groups.zip(dx.chunks_exact_mut(width)).zip(stats);
    for (((x, dy), dx), stats) in groups {
        group_input::<FUSED>(kind, x, *stats, weight, dy, dx, into);
    }
}
dispatch!(
    /// The gradient of one row.
    pub(super) fn input_gradient = input_body(kind: NormKind, x: &[f32], stats: &[GroupStats], weight: &[f32], dy: &[f32], dx: &mut [f32], into: Write));

#[inline(always)]
fn group_input<const FUSED: bool>(
    kind: NormKind,
    x: &[f32],
    stats: GroupStats,
    weight: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    into: Write,
) {
    let n = x.len() as f32;
    let GroupStats { mean, scale } = stats;
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
    let along = along / n;
    let gradient = match kind {
        NormKind::Layer => gradient / n,
        // No mean is subtracted in the forward pass, so none is subtracted from the gradient.
        NormKind::Rms => 0.0,
    };
    let all = dx.iter_mut().zip(x).zip(weight).zip(dy);
    match into {
        Write::Add => {
            for (((dx, x), w), dy) in all {
                let normed = (x - mean) * scale;
                let g = fma::<FUSED>(-along, normed, fma::<FUSED>(*dy, *w, -gradient));
                *dx = fma::<FUSED>(scale, g, *dx);
            }
        }
        Write::Over => {
            for (((dx, x), w), dy) in all {
                let normed = (x - mean) * scale;
                let g = fma::<FUSED>(-along, normed, fma::<FUSED>(*dy, *w, -gradient));
                *dx = scale * g;
            }
        }
    }
}

/// The backward pass of [`norm_rows`] to its input: `dx` ← (`dx` +) its gradient.
///
/// # Panics
/// If the sizes do not fit.
pub fn norm_backward(
    norm: Norm,
    (x, stats): (HostColumns<'_>, &[GroupStats]),
    weight: &[f32],
    dy: HostColumns<'_>,
    dx: HostColumnsMut<'_>,
    into: Write,
) {
    let groups = check(x, stats, weight);
    assert_eq!((dy.rows(), dy.width()), (x.rows(), x.width()));
    dx.check_like(x);
    let (weight, isa) = (factors(norm, weight), isa());
    dx.for_each_row(|row, dx| {
        let (stats, dy) = (&stats[row * groups..][..groups], dy.row(row));
        input_gradient(isa, norm.kind, x.row(row), stats, &weight, dy, dx, into);
    });
}

/// The same in place: `gradient`, that of the output, is overwritten with that of the input.
///
/// # Panics
/// If the sizes do not fit.
pub fn norm_backward_in_place(
    norm: Norm,
    (x, stats): (HostColumns<'_>, &[GroupStats]),
    weight: &[f32],
    gradient: HostColumnsMut<'_>,
) {
    let groups = check(x, stats, weight);
    gradient.check_like(x);
    let (weight, isa) = (factors(norm, weight), isa());
    gradient.for_each_row(|row, gradient| {
        DY.with_borrow_mut(|dy| {
            dy.clear();
            dy.extend_from_slice(gradient);
            let (x, stats) = (x.row(row), &stats[row * groups..][..groups]);
            input_gradient(isa, norm.kind, x, stats, &weight, dy, gradient, Write::Over);
        });
    });
}

thread_local! {
    /// A copy of a row of the output's gradient, which is being overwritten.
    static DY: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Panics if the sizes do not fit; returns the number of groups in a row.
fn check(x: HostColumns<'_>, stats: &[GroupStats], weight: &[f32]) -> usize {
    assert!(
        !weight.is_empty() && x.width().is_multiple_of(weight.len()),
        "columns of whole groups"
    );
    let groups = x.width() / weight.len();
    assert_eq!(stats.len(), x.rows() * groups, "stats of every group");
    groups
}
