//! Attention against a loop over rows and keys.

use super::split::on_threads;
use super::{Attended, Segments, attention, attention_backward};
use crate::AttentionShape;
use std::ops::Range;

type Tree = Vec<(Range<usize>, Option<usize>)>;

fn numbers(n: usize, seed: f32) -> Vec<f32> {
    (0..n).map(|i| (i as f32 * 0.731 + seed).sin()).collect()
}

/// A single segment, roots with children, a chain of three, and a long segment.
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

/// The rows that a row attends to: the newest `window` of its path of ancestors up to itself.
fn seen(tree: &Tree, window: Option<usize>, row: usize) -> Vec<usize> {
    let own = |(range, _): &(Range<usize>, Option<usize>)| range.contains(&row);
    let mut at = tree.iter().position(own);
    let mut path = Vec::new();
    while let Some(segment) = at {
        let (range, parent) = &tree[segment];
        path.extend(range.clone().rev().filter(|key| *key <= row));
        at = *parent;
    }
    path.truncate(window.unwrap_or(usize::MAX));
    path
}

/// The output of attention in f64.
fn naive(tree: &Tree, shape: AttentionShape, qkv: &[f64]) -> Vec<f64> {
    let (w, width) = (shape.head_width, shape.qkv_width());
    let (n, d) = (qkv.len() / width, shape.query_width());
    let mut output = vec![0.0; n * d];
    for (row, head) in (0..n).flat_map(|row| (0..shape.heads).map(move |head| (row, head))) {
        let kv_head = head * shape.kv_heads / shape.heads;
        let key_at = d + kv_head * w;
        let at = |row: usize, offset: usize| &qkv[row * width + offset..][..w];
        let score = |key: usize| {
            let both = at(row, head * w).iter().zip(at(key, key_at));
            let product: f64 = both.map(|(q, k)| q * k).sum();
            (product * f64::from(shape.scale)).exp()
        };
        let seen = seen(tree, shape.window, row);
        let total: f64 = seen.iter().map(|key| score(*key)).sum();
        for key in seen {
            for i in 0..w {
                let value = at(key, key_at + shape.kv_width())[i];
                output[row * d + head * w + i] += score(key) / total * value;
            }
        }
    }
    output
}

/// Trees with shapes: key-value heads for each query head, for groups of them and for all, and windows that
/// begin within a block, within an ancestor and at the row itself.
fn cases() -> Vec<(Tree, AttentionShape)> {
    let widths = [3, 20, 17, 16];
    let heads = [(2, 2), (3, 3), (4, 2), (6, 2), (3, 1)];
    let windows = [None, Some(1), Some(4), Some(10), Some(67), Some(1000)];
    let trees = trees().into_iter().zip(widths);
    let mut cases = Vec::new();
    for (index, (tree, head_width)) in trees.enumerate() {
        for (place, (heads, kv_heads)) in heads.into_iter().enumerate() {
            for (other, window) in windows.into_iter().enumerate() {
                // A third of the combinations for the larger trees, which are slow in f64.
                if index > 1 && (place + other) % 3 != index % 3 {
                    continue;
                }
                let shape = AttentionShape {
                    heads,
                    kv_heads,
                    head_width,
                    scale: 0.4,
                    window,
                };
                cases.push((tree.clone(), shape));
            }
        }
    }
    cases
}

/// Output and gradient of qkv.
fn run(tree: &Tree, shape: AttentionShape, qkv: &[f32], g: &[f32]) -> (Vec<f32>, Vec<f32>) {
    let segments = Segments::new(tree.clone());
    let n = segments.rows();
    let (mut output, mut log_sums) = (vec![7.0; g.len()], vec![7.0; n * shape.heads]);
    attention(&segments, shape, qkv, &mut output, &mut log_sums);
    let attended = Attended {
        qkv,
        output: &output,
        log_sums: &log_sums,
    };
    let mut d_qkv = vec![7.0; qkv.len()];
    attention_backward(&segments, shape, attended, g, &mut d_qkv);
    (output, d_qkv)
}

/// Inputs and a gradient of the output.
fn inputs(tree: &Tree, shape: AttentionShape) -> (Vec<f32>, Vec<f32>) {
    let n = tree.last().map_or(0, |(range, _)| range.end);
    (
        numbers(n * shape.qkv_width(), 0.0),
        numbers(n * shape.query_width(), 1.0),
    )
}

#[test]
fn forward_and_backward_against_differences() {
    for (tree, shape) in cases() {
        let (qkv, g) = inputs(&tree, shape);
        let (output, d_qkv) = run(&tree, shape, &qkv, &g);
        let wide: Vec<f64> = qkv.iter().copied().map(f64::from).collect();
        for (got, want) in output.iter().zip(naive(&tree, shape, &wide)) {
            assert!((f64::from(*got) - want).abs() < 1e-5, "{got} {want}");
        }
        let loss = |qkv: &[f64]| -> f64 {
            let output = naive(&tree, shape, qkv);
            output.iter().zip(&g).map(|(y, g)| y * f64::from(*g)).sum()
        };
        for i in (0..qkv.len()).step_by(1 + qkv.len() / 16) {
            let (mut up, mut down) = (wide.clone(), wide.clone());
            up[i] += 1e-4;
            down[i] -= 1e-4;
            let want = (loss(&up) - loss(&down)) / 2e-4;
            assert!(
                (f64::from(d_qkv[i]) - want).abs() < 2e-5 * (1.0 + want.abs()),
                "{shape:?} {} {want}",
                d_qkv[i]
            );
        }
    }
}

/// Heads that share keys and values give the same output, to the last bit, as heads with copies of them.
#[test]
fn shared_heads_are_copied_heads() {
    for (tree, shape) in cases() {
        let (qkv, g) = inputs(&tree, shape);
        let (output, d_qkv) = run(&tree, shape, &qkv, &g);
        let copied = AttentionShape {
            kv_heads: shape.heads,
            ..shape
        };
        let (w, d, group) = (shape.head_width, shape.query_width(), shape.group());
        // The number of the row that each number of the copied row is copied from.
        let source = |i: usize| match i < d {
            true => i,
            false => {
                let (part, head) = ((i - d) / d, (i - d) % d / w);
                d + part * shape.kv_width() + head / group * w + i % w
            }
        };
        let rows = qkv.chunks(shape.qkv_width());
        let copies = rows.flat_map(|row| (0..3 * d).map(|i| row[source(i)]));
        let copies: Vec<f32> = copies.collect();
        let (want, d_copies) = run(&tree, copied, &copies, &g);
        assert_eq!(output, want);
        let mut sums = vec![0.0; qkv.len()];
        let d_rows = d_copies
            .chunks(3 * d)
            .zip(sums.chunks_mut(shape.qkv_width()));
        d_rows.for_each(|(row, sums)| (0..3 * d).for_each(|i| sums[source(i)] += row[i]));
        for (got, want) in d_qkv.iter().zip(sums) {
            assert!((got - want).abs() < 1e-6, "{got} {want}");
        }
    }
}

/// More trees than the buffer for gradients of shared keys has room for, one of which is larger than the buffer:
/// each has the gradient that it has alone.
#[test]
fn trees_are_taken_some_at_a_time() {
    let shape = AttentionShape {
        heads: 64,
        kv_heads: 2,
        head_width: 64,
        scale: 0.1,
        window: Some(20),
    };
    let lengths = [200, 200, 50, 700, 30];
    let mut tree: Tree = Vec::new();
    for length in lengths {
        let start = tree.last().map_or(0, |(range, _)| range.end);
        tree.push((start..start + length, None));
    }
    let (qkv, g) = inputs(&tree, shape);
    let (_, d_qkv) = run(&tree, shape, &qkv, &g);
    let (width, d) = (shape.qkv_width(), shape.query_width());
    for (range, _) in tree {
        let (qkv, g) = (
            &qkv[range.start * width..range.end * width],
            &g[range.start * d..range.end * d],
        );
        let (_, alone) = run(&vec![(0..range.len(), None)], shape, qkv, g);
        assert!(alone == d_qkv[range.start * width..range.end * width]);
    }
}

#[test]
fn the_same_for_any_number_of_threads() {
    for (tree, shape) in cases() {
        let (qkv, g) = inputs(&tree, shape);
        let run = |threads| on_threads(threads, || run(&tree, shape, &qkv, &g));
        assert_eq!(run(1), run(2));
    }
}

#[test]
#[should_panic(expected = "3 heads cannot share 2 key-value heads evenly")]
fn heads_share_evenly() {
    let shape = AttentionShape {
        heads: 3,
        kv_heads: 2,
        head_width: 1,
        scale: 1.0,
        window: None,
    };
    run(&trees().remove(0), shape, &[0.0; 7], &[0.0; 3]);
}
