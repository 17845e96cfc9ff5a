//! Drawing one entry of each row of scores.

use super::simd::{LANES, dispatch, exp, isa, max, sum_lanes};
use rayon::prelude::*;

/// The number of scores from which on several threads are used.
const MANY: usize = 1 << 17;

/// The block size: blocks are summed first, and only the block of the drawn entry is searched.
const BLOCK: usize = 256;

// Functions instead of closures: only always-inlined code is compiled for the instruction set.

/// The weight of a score, at most 1.
#[inline(always)]
fn weight<const FUSED: bool>(score: f32, largest: f32) -> f32 {
    exp::<FUSED>(score - largest)
}

/// The sum of a block's weights.
#[inline(always)]
fn block_sum<const FUSED: bool>(block: &[f32], largest: f32) -> f64 {
    let (chunks, rest) = block.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] += weight::<FUSED>(chunk[i], largest);
        }
    }
    let mut sum = sum_lanes(lanes);
    for score in rest {
        sum += weight::<FUSED>(*score, largest);
    }
    f64::from(sum)
}

#[inline(always)]
fn body<const FUSED: bool>(scores: &[f32], u: f64) -> (usize, f64) {
    let largest = max(scores);
    let mut sums = Vec::with_capacity(scores.len().div_ceil(BLOCK));
    for block in scores.chunks(BLOCK) {
        sums.push(block_sum::<FUSED>(block, largest));
    }
    let total: f64 = sums.iter().sum();
    let last = sums.iter().rposition(|sum| *sum > 0.0);
    let mut target = u * total;
    // Rounding can move the target past the total: then the last entry of nonzero weight is drawn.
    let mut chosen = 0;
    for (index, (block, sum)) in scores.chunks(BLOCK).zip(&sums).enumerate() {
        if target >= *sum && Some(index) != last {
            target -= sum;
            continue;
        }
        for (i, score) in block.iter().enumerate() {
            let w = f64::from(weight::<FUSED>(*score, largest));
            if w > 0.0 {
                chosen = index * BLOCK + i;
                if target < w {
                    break;
                }
            }
            target -= w;
        }
        break;
    }
    (chosen, f64::from(scores[chosen] - largest) - total.ln())
}

dispatch!(fn run = body(scores: &[f32], u: f64) -> (usize, f64));

/// Draws an entry of each row of `scores` [uniforms, V] (log-probabilities up to a constant) by
/// inverting the cumulative distribution at the row's uniform number in [0, 1), and returns it with its
/// log-probability in nats. Scores of −∞ are never drawn.
///
/// # Panics
/// If there are no scores, or they are not as many for each row.
#[must_use]
pub fn sample_rows(scores: &[f32], uniforms: &[f64]) -> Vec<(u32, f32)> {
    let vocab = scores.len() / uniforms.len().max(1);
    assert!(vocab > 0 && scores.len() == vocab * uniforms.len());
    let isa = isa();
    let draw = |(scores, u): (&[f32], &f64)| {
        let (token, log_prob) = run(isa, scores, *u);
        (token as u32, log_prob as f32)
    };
    match scores.len() < MANY {
        true => scores.chunks_exact(vocab).zip(uniforms).map(draw).collect(),
        false => {
            let rows = scores.par_chunks_exact(vocab).zip(uniforms);
            rows.map(draw).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::simd::all;

    #[test]
    fn inverts_the_cumulative_distribution() {
        for n in [1, 7, 256, 257, 1000] {
            let scores: Vec<f32> = (0..n).map(|i| (i as f32 * 1.3).sin() * 3.0).collect();
            let weights: Vec<f64> = scores.iter().map(|x| f64::from(*x).exp()).collect();
            let total: f64 = weights.iter().sum();
            for isa in all() {
                for k in 0..500 {
                    let u = (f64::from(k) + 0.5) / 500.0;
                    let (token, log_prob) = run(isa, &scores, u);
                    let below: f64 = weights[..token].iter().sum::<f64>() / total;
                    let up_to = below + weights[token] / total;
                    assert!(
                        below - 1e-6 <= u && u <= up_to + 1e-6,
                        "{below} {u} {up_to}"
                    );
                    assert!((log_prob - (weights[token] / total).ln()).abs() < 2e-6);
                }
            }
        }
    }

    #[test]
    fn excluded_entries_and_the_ends() {
        let inf = f32::NEG_INFINITY;
        let mut scores = vec![inf; 600];
        (scores[3], scores[500]) = (0.0, 0.0);
        for (u, token) in [(0.0, 3), (0.49, 3), (0.51, 500), (1.0 - 1e-16, 500)] {
            // One row, and more scores than one thread takes.
            for rows in [1, 2 * MANY / scores.len()] {
                let drawn = sample_rows(&scores.repeat(rows), &vec![u; rows]);
                assert_eq!(drawn.len(), rows);
                for (drawn, log_prob) in drawn {
                    assert_eq!(drawn, token);
                    assert!((log_prob + std::f32::consts::LN_2).abs() < 1e-6);
                }
            }
        }
    }
}
