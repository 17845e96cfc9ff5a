//! Rotations against f64, and their backward pass against the transposed rotation.

use super::rope::turn_heads;
use super::simd::{Isa, all};
use super::split::on_threads;
use super::{HostRope, Turn, rope};
use crate::AttentionShape;

fn numbers(n: usize, seed: f32) -> Vec<f32> {
    (0..n).map(|i| (i as f32 * 0.731 + seed).sin()).collect()
}

const POSITIONS: usize = 40;
/// What yarn would multiply both tables by.
const FACTOR: f64 = 1.3;

fn angle(position: usize, i: usize, half: usize) -> f64 {
    position as f64 * 100f64.powf(-(i as f64) / half as f64)
}

fn tables(rotary: usize) -> [Vec<f32>; 2] {
    let half = rotary / 2;
    let table = |f: fn(f64) -> f64| {
        let entries = (0..POSITIONS * half).map(|i| angle(i / half, i % half, half));
        entries.map(|angle| (FACTOR * f(angle)) as f32).collect()
    };
    [table(f64::cos), table(f64::sin)]
}

fn shape(heads: usize, kv_heads: usize, head_width: usize) -> AttentionShape {
    AttentionShape {
        heads,
        kv_heads,
        head_width,
        scale: 1.0,
        window: None,
    }
}

/// Row by row, with angles in f64; `sign` −1 is the transposed rotation.
fn naive(
    shape: AttentionShape,
    rotary: usize,
    positions: &[u32],
    qkv: &[f32],
    sign: f64,
) -> Vec<f64> {
    let mut all: Vec<f64> = qkv.iter().map(|x| f64::from(*x)).collect();
    let (width, half) = (shape.head_width, rotary / 2);
    for (row, position) in all.chunks_mut(shape.qkv_width()).zip(positions) {
        for head in row.chunks_mut(width).take(shape.heads + shape.kv_heads) {
            for i in 0..half {
                let (sin, cos) = angle(*position as usize, i, half).sin_cos();
                let (sin, cos) = (FACTOR * sign * sin, FACTOR * cos);
                let (x, y) = (head[i], head[i + half]);
                head[i] = x * cos - y * sin;
                head[i + half] = y * cos + x * sin;
            }
        }
    }
    all
}

#[test]
fn rotations_and_their_transposes() {
    for (shape, rotary, n) in [
        (shape(1, 1, 2), 2, 1),
        (shape(3, 1, 20), 20, 9),
        (shape(4, 2, 16), 4, 7),
        (shape(6, 3, 66), 66, 300),
        (shape(2, 2, 80), 20, 33),
    ] {
        let positions: Vec<u32> = (0..n).map(|i| (i * 7 % POSITIONS) as u32).collect();
        let qkv = numbers(n * shape.qkv_width(), 0.3);
        let [cos, sin] = tables(rotary);
        let tables = HostRope {
            cos: &cos,
            sin: &sin,
            rotary,
        };
        for (turn, sign) in [(Turn::Forward, 1.0), (Turn::Backward, -1.0)] {
            let run = |threads| {
                on_threads(threads, || {
                    let mut turned = qkv.clone();
                    rope(shape, tables, &positions, &mut turned, turn);
                    turned
                })
            };
            let turned = run(1);
            assert_eq!(turned, run(3));
            let want = naive(shape, rotary, &positions, &qkv, sign);
            for (got, want) in turned.iter().zip(want) {
                assert!(
                    (f64::from(*got) - want).abs() < 1e-6,
                    "{turn:?} {got} {want}"
                );
            }
        }
    }
}

/// ⟨R x, y⟩ = ⟨x, Rᵀ y⟩: the gradient of a loss in the rotated numbers, carried back.
#[test]
fn the_backward_pass_is_the_transpose() {
    let (shape, rotary, n) = (shape(3, 1, 20), 12, 11);
    let positions: Vec<u32> = (0..n).map(|i| i as u32 * 3).collect();
    let [cos, sin] = tables(rotary);
    let tables = HostRope {
        cos: &cos,
        sin: &sin,
        rotary,
    };
    let (x, y) = (
        numbers(n * shape.qkv_width(), 0.1),
        numbers(n * shape.qkv_width(), 0.2),
    );
    let (mut rx, mut ry) = (x.clone(), y.clone());
    rope(shape, tables, &positions, &mut rx, Turn::Forward);
    rope(shape, tables, &positions, &mut ry, Turn::Backward);
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum()
    };
    assert!((dot(&rx, &y) - dot(&x, &ry)).abs() < 1e-4);
    assert_ne!(rx, x);
}

#[test]
fn instruction_sets_agree() {
    let [cos, sin] = tables(46);
    let (cos, sin) = (&cos[23 * 5..23 * 6], &sin[23 * 5..23 * 6]);
    let run = |isa| {
        let mut heads = numbers(3 * 50, 0.4);
        turn_heads(isa, &mut heads, 50, cos, sin, Turn::Forward);
        heads
    };
    let want = run(Isa::Portable);
    for isa in all() {
        for (got, want) in run(isa).iter().zip(&want) {
            assert!((got - want).abs() < 1e-6, "{isa:?}");
        }
    }
}

#[test]
#[should_panic(expected = "22 numbers to rotate of a head of 20")]
fn no_more_is_rotated_than_a_head_has() {
    let rope_tables = HostRope {
        cos: &[1.0; 11],
        sin: &[0.0; 11],
        rotary: 22,
    };
    let mut qkv = vec![0.0; 60];
    rope(shape(1, 1, 20), rope_tables, &[0], &mut qkv, Turn::Forward);
}
