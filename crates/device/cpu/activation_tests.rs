//! Nonlinearities, alone and gated, against f64 and finite differences.

use super::activation::{
    activate, activate_backward, activate_gated, activate_gated_backward, backward, forward, gated,
    gated_backward,
};
use super::simd::{Isa, all};
use crate::Nonlinearity::{self, Gelu, GeluNew, Relu, Silu};

/// Φ by the series of erf, and by its continued fraction far out.
fn phi(x: f64) -> f64 {
    let z = x.abs() / std::f64::consts::SQRT_2;
    let upper = if z < 3.0 {
        let (mut term, mut sum) = (z, z);
        for n in 1..200 {
            term *= -z * z / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        0.5 - sum / std::f64::consts::PI.sqrt()
    } else {
        let tail = (1..60)
            .rev()
            .fold(z, |tail, n| z + f64::from(n) / 2.0 / tail);
        0.5 * (-z * z).exp() / tail / std::f64::consts::PI.sqrt()
    };
    if x < 0.0 { upper } else { 1.0 - upper }
}

fn naive(kind: Nonlinearity, x: f64) -> f64 {
    match kind {
        Nonlinearity::GeluNew => {
            let z = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3));
            0.5 * x * (1.0 + z.tanh())
        }
        Nonlinearity::Gelu => x * phi(x),
        Nonlinearity::Relu => x.max(0.0),
        Nonlinearity::Silu => x / (1.0 + (-x).exp()),
    }
}

#[test]
fn values_and_slopes() {
    let x: Vec<f32> = (0..1003).map(|i| i as f32 * 0.02 - 10.01).collect();
    for (kind, isa) in [GeluNew, Gelu, Relu, Silu]
        .into_iter()
        .flat_map(|k| all().into_iter().map(move |i| (k, i)))
    {
        let (mut y, mut again, mut g) =
            (vec![0.0; x.len()], vec![0.0; x.len()], vec![2.0; x.len()]);
        forward(isa, kind, &x, &mut y);
        backward(isa, kind, &x, &mut again, &mut g);
        for i in 0..x.len() {
            let wide = f64::from(x[i]);
            let want = naive(kind, wide);
            assert!(
                (f64::from(y[i]) - want).abs() < 2e-6,
                "{kind:?}({wide}): {} {want}",
                y[i]
            );
            assert!((y[i] - again[i]).abs() < 1e-6);
            let slope = (naive(kind, wide + 1e-4) - naive(kind, wide - 1e-4)) / 2e-4;
            assert!(
                (f64::from(g[i]) - 2.0 * slope).abs() < 1e-5,
                "{kind:?}'({wide}) {}",
                g[i]
            );
        }
    }
}

#[test]
fn long_slices_are_cut_without_loss() {
    let x: Vec<f32> = (0..40_001).map(|i| (i as f32).sin()).collect();
    let (mut y, mut again, mut g) = (vec![0.0; x.len()], vec![0.0; x.len()], vec![1.0; x.len()]);
    activate(Nonlinearity::Silu, &x, &mut y);
    activate_backward(Nonlinearity::Silu, &x, &mut again, &mut g);
    for i in 0..x.len() {
        assert!((f64::from(y[i]) - naive(Nonlinearity::Silu, f64::from(x[i]))).abs() < 1e-6);
        assert!((y[i] - again[i]).abs() < 1e-6 && g[i] != 1.0 || x[i] == 0.0);
    }
}

const KINDS: [Nonlinearity; 4] = [GeluNew, Gelu, Relu, Silu];

/// f′(x) by a central difference.
fn naive_slope(kind: Nonlinearity, x: f64) -> f64 {
    (naive(kind, x + 1e-4) - naive(kind, x - 1e-4)) / 2e-4
}

/// Row widths below and above those of registers and of pieces of work.
#[test]
fn gated_units_and_their_gradients() {
    for (kind, (n, inner)) in KINDS
        .into_iter()
        .flat_map(|kind| [(1, 1), (3, 5), (7, 67), (5, 4099), (130, 96)].map(|s| (kind, s)))
    {
        let numbers = |n: usize, seed: f32| -> Vec<f32> {
            let number = |i| (i as f32 * 0.73 + seed).sin() * 3.0;
            (0..n).map(number).collect()
        };
        let (x, dy) = (numbers(2 * n * inner, 0.1), numbers(n * inner, 0.2));
        let (mut y, mut again) = (vec![9.0; n * inner], vec![9.0; n * inner]);
        let mut dx = vec![9.0; x.len()];
        activate_gated(kind, inner, &x, &mut y);
        activate_gated_backward(kind, inner, &x, &mut again, &dy, &mut dx);
        let close = |got: f32, want: f64| {
            let error = (f64::from(got) - want).abs();
            assert!(error < 1e-5 * (1.0 + want.abs()), "{kind:?} {got} {want}");
        };
        for i in 0..n * inner {
            let at = i / inner * 2 * inner + i % inner;
            let [gate, up, dy] = [x[at], x[at + inner], dy[i]].map(f64::from);
            close(y[i], naive(kind, gate) * up);
            close(again[i], naive(kind, gate) * up);
            close(dx[at + inner], dy * naive(kind, gate));
            // Relu has no derivative at 0, so a difference across 0 is not compared.
            if kind != Relu || gate.abs() > 1e-3 {
                close(dx[at], dy * up * naive_slope(kind, gate));
            }
        }
    }
}

#[test]
fn gated_units_on_every_instruction_set() {
    let x: Vec<f32> = (0..206).map(|i| (i as f32 * 0.37).sin() * 4.0).collect();
    let dy: Vec<f32> = (0..103).map(|i| (i as f32 * 0.53).cos()).collect();
    for kind in KINDS {
        let run = |isa| {
            let (mut y, mut again, mut dx) = (vec![0.0; 103], vec![0.0; 103], vec![0.0; 206]);
            gated(isa, kind, &x[..103], &x[103..], &mut y);
            gated_backward(isa, kind, &x, &mut again, &dy, &mut dx);
            [y, again, dx].concat()
        };
        let want = run(Isa::Portable);
        for isa in all() {
            for (got, want) in run(isa).iter().zip(&want) {
                assert!((got - want).abs() < 1e-5, "{isa:?} {kind:?} {got} {want}");
            }
        }
    }
}
