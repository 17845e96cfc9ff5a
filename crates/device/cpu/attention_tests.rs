//! Attention against a loop over rows and keys.

use super::split::on_threads;
use super::{Attended, Segments, attention, attention_backward};
use crate::AttentionShape;

type Tree = Vec<(std::ops::Range<usize>, Option<usize>)>;

fn numbers(n: usize, seed: f32) -> Vec<f32> {
    (0..n).map(|i| (i as f32 * 0.731 + seed).sin()).collect()
}

/// A lone segment, one root with two children, and a chain of three.
fn trees() -> Vec<Tree> {
    vec![
        vec![(0..1, None)],
        vec![
            (0..5, None),
            (5..8, Some(0)),
            (8..12, None),
            (12..13, Some(0)),
            (13..15, Some(2)),
        ],
        vec![
            (0..3, None),
            (3..70, Some(0)),
            (70..75, Some(1)),
            (75..80, Some(0)),
        ],
        vec![(0..150, None)],
    ]
}

fn sees(tree: &Tree, row: usize, key: usize) -> bool {
    let segment = |row: usize| {
        tree.iter()
            .position(|(range, _)| range.contains(&row))
            .unwrap()
    };
    let mut at = segment(row);
    if segment(key) == at {
        return key <= row;
    }
    while let Some(parent) = tree[at].1 {
        if segment(key) == parent {
            return true;
        }
        at = parent;
    }
    false
}

fn naive(tree: &Tree, shape: AttentionShape, qkv: &[f64]) -> Vec<f64> {
    let (d, w) = (shape.heads * shape.head_width, shape.head_width);
    let n = qkv.len() / (3 * d);
    let mut output = vec![0.0; n * d];
    for (row, head) in (0..n).flat_map(|row| (0..shape.heads).map(move |head| (row, head))) {
        let at = |part: usize, row: usize| &qkv[row * 3 * d + part * d + head * w..][..w];
        let score = |key: usize| {
            let product: f64 = at(0, row).iter().zip(at(1, key)).map(|(q, k)| q * k).sum();
            (product * f64::from(shape.scale)).exp()
        };
        let seen: Vec<usize> = (0..n).filter(|key| sees(tree, row, *key)).collect();
        let total: f64 = seen.iter().map(|key| score(*key)).sum();
        for key in seen {
            for i in 0..w {
                output[row * d + head * w + i] += score(key) / total * at(2, key)[i];
            }
        }
    }
    output
}

#[test]
fn forward_and_backward_against_differences() {
    for (tree, (count, width)) in trees().into_iter().zip([(2, 3), (3, 20), (2, 17), (1, 16)]) {
        let shape = AttentionShape {
            heads: count,
            kv_heads: count,
            head_width: width,
            scale: 0.4,
            window: None,
        };
        let segments = Segments::new(tree.clone());
        let (n, d) = (segments.rows(), count * width);
        let (qkv, g) = (numbers(3 * n * d, 0.0), numbers(n * d, 1.0));
        let (mut output, mut log_sums) = (vec![7.0; n * d], vec![7.0; n * count]);
        attention(&segments, shape, &qkv, &mut output, &mut log_sums);
        let wide: Vec<f64> = qkv.iter().copied().map(f64::from).collect();
        for (got, want) in output.iter().zip(naive(&tree, shape, &wide)) {
            assert!((f64::from(*got) - want).abs() < 1e-5, "{got} {want}");
        }
        let attended = Attended {
            qkv: &qkv,
            output: &output,
            log_sums: &log_sums,
        };
        let mut d_qkv = vec![7.0; qkv.len()];
        attention_backward(&segments, shape, attended, &g, &mut d_qkv);
        let loss = |qkv: &[f64]| -> f64 {
            naive(&tree, shape, qkv)
                .iter()
                .zip(&g)
                .map(|(y, g)| y * f64::from(*g))
                .sum()
        };
        for i in (0..qkv.len()).step_by(1 + qkv.len() / 60) {
            let (mut up, mut down) = (wide.clone(), wide.clone());
            up[i] += 1e-4;
            down[i] -= 1e-4;
            let want = (loss(&up) - loss(&down)) / 2e-4;
            assert!(
                (f64::from(d_qkv[i]) - want).abs() < 2e-5 * (1.0 + want.abs()),
                "{} {want}",
                d_qkv[i]
            );
        }
    }
}

#[test]
fn the_same_for_any_number_of_threads() {
    let tree = trees().remove(2);
    let shape = AttentionShape {
        heads: 3,
        kv_heads: 3,
        head_width: 24,
        scale: 0.2,
        window: None,
    };
    let segments = Segments::new(tree);
    let n = segments.rows();
    let (qkv, g) = (numbers(3 * n * 72, 0.0), numbers(n * 72, 1.0));
    let run = |threads| {
        on_threads(threads, || {
            let (mut output, mut log_sums) = (vec![0.0; n * 72], vec![0.0; n * 3]);
            attention(&segments, shape, &qkv, &mut output, &mut log_sums);
            let attended = Attended {
                qkv: &qkv,
                output: &output,
                log_sums: &log_sums,
            };
            let mut d_qkv = vec![0.0; qkv.len()];
            attention_backward(&segments, shape, attended, &g, &mut d_qkv);
            (output, d_qkv)
        })
    };
    assert_eq!(run(1), run(2));
}
