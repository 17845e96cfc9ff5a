//! Nonlinearities and gated units, with their derivatives.

use super::simd::{dispatch, exp, fma, isa, sigmoid};
use super::split::{over_rows, rows_per_task};
use crate::Nonlinearity;
use rayon::prelude::*;

/// 2√(2/π)
const GELU_RATE: f32 = 1.595_769;

/// (f(x), f′(x))
#[inline(always)]
fn gelu_new<const FUSED: bool>(x: f32) -> (f32, f32) {
    let square = x * x;
    let z = GELU_RATE * x * fma::<FUSED>(0.044_715, square, 1.0);
    let s = sigmoid::<FUSED>(z);
    let dz = GELU_RATE * fma::<FUSED>(0.134_145, square, 1.0);
    let y = x * s;
    (y, fma::<FUSED>(y * (1.0 - s), dz, s))
}

/// (f(x), f′(x))
#[inline(always)]
fn gelu<const FUSED: bool>(x: f32) -> (f32, f32) {
    let size = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / fma::<FUSED>(0.327_591_1, size, 1.0);
    let bell = exp::<FUSED>(-size * size);
    let mut p = 1.061_405_4;
    p = fma::<FUSED>(p, t, -1.453_152);
    p = fma::<FUSED>(p, t, 1.421_413_7);
    p = fma::<FUSED>(p, t, -0.284_496_74);
    p = fma::<FUSED>(p, t, 0.254_829_6);
    // Φ(−|x|) is the small tail, so nothing cancels.
    let tail = 0.5 * p * t * bell;
    let phi = if x < 0.0 { tail } else { 1.0 - tail };
    let density = 0.398_942_3 * bell;
    (x * phi, fma::<FUSED>(x, density, phi))
}

/// (f(x), f′(x))
#[inline(always)]
fn relu<const FUSED: bool>(x: f32) -> (f32, f32) {
    if x > 0.0 { (x, 1.0) } else { (0.0, 0.0) }
}

/// (f(x), f′(x))
#[inline(always)]
fn silu<const FUSED: bool>(x: f32) -> (f32, f32) {
    let s = sigmoid::<FUSED>(x);
    let y = x * s;
    (y, fma::<FUSED>(y, 1.0 - s, s))
}

#[inline(always)]
fn forward_body<const FUSED: bool>(kind: Nonlinearity, x: &[f32], y: &mut [f32]) {
    let all = y.iter_mut().zip(x);
    match kind {
        Nonlinearity::GeluNew => all.for_each(|(y, x)| *y = gelu_new::<FUSED>(*x).0),
        Nonlinearity::Gelu => all.for_each(|(y, x)| *y = gelu::<FUSED>(*x).0),
        Nonlinearity::Relu => all.for_each(|(y, x)| *y = relu::<FUSED>(*x).0),
        Nonlinearity::Silu => all.for_each(|(y, x)| *y = silu::<FUSED>(*x).0),
    }
}
dispatch!(pub(super) fn forward = forward_body(kind: Nonlinearity, x: &[f32], y: &mut [f32]));

#[inline(always)]
fn slope(pair: (f32, f32), y: &mut f32, gradient: &mut f32) {
    *y = pair.0;
    *gradient *= pair.1;
}

#[inline(always)]
fn backward_body<const FUSED: bool>(kind: Nonlinearity, x: &[f32], y: &mut [f32], g: &mut [f32]) {
    let all = y.iter_mut().zip(g).zip(x);
    match kind {
        Nonlinearity::GeluNew => all.for_each(|((y, g), x)| slope(gelu_new::<FUSED>(*x), y, g)),
        Nonlinearity::Gelu => all.for_each(|((y, g), x)| slope(gelu::<FUSED>(*x), y, g)),
        Nonlinearity::Relu => all.for_each(|((y, g), x)| slope(relu::<FUSED>(*x), y, g)),
        Nonlinearity::Silu => all.for_each(|((y, g), x)| slope(silu::<FUSED>(*x), y, g)),
    }
}
dispatch!(pub(super) fn backward = backward_body(kind: Nonlinearity, x: &[f32], y: &mut [f32], g: &mut [f32]));

/// y ← f(x).
///
/// # Panics
/// If the lengths differ.
pub fn activate(kind: Nonlinearity, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), y.len());
    let isa = isa();
    over_rows(y, 1, |first, y| {
        forward(isa, kind, &x[first..][..y.len()], y)
    });
}

/// gradient ← gradient·f′(x), and y ← f(x) again. The next layer needs y for the gradient of its weights;
/// computing it here costs nothing, so the forward pass does not keep it.
///
/// # Panics
/// If the lengths differ.
pub fn activate_backward(kind: Nonlinearity, x: &[f32], y: &mut [f32], gradient: &mut [f32]) {
    const CHUNK: usize = 1 << 13;
    assert_eq!((x.len(), x.len()), (y.len(), gradient.len()));
    let isa = isa();
    let pieces = y.par_chunks_mut(CHUNK).zip(gradient.par_chunks_mut(CHUNK));
    pieces
        .zip(x.par_chunks(CHUNK))
        .for_each(|((y, g), x)| backward(isa, kind, x, y, g));
}

#[inline(always)]
fn gated_body<const FUSED: bool>(kind: Nonlinearity, gate: &[f32], up: &[f32], y: &mut [f32]) {
    let all = y.iter_mut().zip(gate).zip(up);
    match kind {
        Nonlinearity::GeluNew => all.for_each(|((y, g), u)| *y = gelu_new::<FUSED>(*g).0 * u),
        Nonlinearity::Gelu => all.for_each(|((y, g), u)| *y = gelu::<FUSED>(*g).0 * u),
        Nonlinearity::Relu => all.for_each(|((y, g), u)| *y = relu::<FUSED>(*g).0 * u),
        Nonlinearity::Silu => all.for_each(|((y, g), u)| *y = silu::<FUSED>(*g).0 * u),
    }
}
dispatch!(pub(super) fn gated = gated_body(kind: Nonlinearity, gate: &[f32], up: &[f32], y: &mut [f32]));

/// `y` [n, inner] ← f(gate)·up, for rows [gate | up] of `x` [n, 2·inner].
///
/// # Panics
/// If the sizes do not fit.
pub fn activate_gated(kind: Nonlinearity, inner: usize, x: &[f32], y: &mut [f32]) {
    assert_eq!(x.len(), 2 * y.len(), "a gate for each number");
    assert!(inner > 0 && y.len().is_multiple_of(inner), "whole rows");
    let isa = isa();
    over_rows(y, inner, |first, y| {
        let x = x[first * 2 * inner..].chunks_exact(2 * inner);
        for (y, x) in y.chunks_exact_mut(inner).zip(x) {
            let (gate, up) = x.split_at(inner);
            gated(isa, kind, gate, up, y);
        }
    });
}

#[inline(always)]
fn gated_slope(pair: (f32, f32), up: f32, dy: f32, [y, d_gate, d_up]: [&mut f32; 3]) {
    *y = pair.0 * up;
    *d_gate = dy * up * pair.1;
    *d_up = dy * pair.0;
}

#[inline(always)]
fn gated_backward_body<const FUSED: bool>(
    kind: Nonlinearity,
    x: &[f32],
    y: &mut [f32],
    dy: &[f32],
    dx: &mut [f32],
) {
    let (gate, up) = x.split_at(y.len());
    let (d_gate, d_up) = dx.split_at_mut(y.len());
    let all = gate.iter().zip(up).zip(dy);
    let all = all.zip(y).zip(d_gate).zip(d_up);
    macro_rules! each {
        ($f:ident) => {
            all.for_each(|(((((gate, up), dy), y), d_gate), d_up)| {
                gated_slope($f::<FUSED>(*gate), *up, *dy, [y, d_gate, d_up]);
            })
        };
    }
    match kind {
        Nonlinearity::GeluNew => each!(gelu_new),
        Nonlinearity::Gelu => each!(gelu),
        Nonlinearity::Relu => each!(relu),
        Nonlinearity::Silu => each!(silu),
    }
}
dispatch!(
    /// The backward pass of one row.
    pub(super) fn gated_backward = gated_backward_body(kind: Nonlinearity, x: &[f32], y: &mut [f32], dy: &[f32], dx: &mut [f32]));

/// The backward pass of [`activate_gated`]: `dx` [n, 2·inner] ← the gradient of `x` from `dy` [n, inner], that
/// of `y`. It computes `y` again, as [`activate_backward`] does.
///
/// # Panics
/// If the sizes do not fit.
pub fn activate_gated_backward(
    kind: Nonlinearity,
    inner: usize,
    x: &[f32],
    y: &mut [f32],
    dy: &[f32],
    dx: &mut [f32],
) {
    let n = y.len();
    assert_eq!((x.len(), dy.len(), dx.len()), (2 * n, n, 2 * n));
    assert!(inner > 0 && n.is_multiple_of(inner), "whole rows");
    let (isa, rows) = (isa(), rows_per_task(2 * inner));
    let pieces = y
        .par_chunks_mut(rows * inner)
        .zip(dx.par_chunks_mut(rows * 2 * inner))
        .zip(x.par_chunks(rows * 2 * inner))
        .zip(dy.par_chunks(rows * inner));
    pieces.for_each(|(((y, dx), x), dy)| {
        let all = y
            .chunks_exact_mut(inner)
            .zip(dx.chunks_exact_mut(2 * inner));
        let all = all.zip(x.chunks_exact(2 * inner).zip(dy.chunks_exact(inner)));
        all.for_each(|((y, dx), (x, dy))| gated_backward(isa, kind, x, y, dy, dx));
    });
}
