//! Rows of logits: log-probabilities, entropies and their gradients, in place.

use super::simd::{LANES, dispatch, exp, fma, isa, max, sum_lanes};
use super::split::rows_per_task;
use crate::RowGradient;
use rayon::prelude::*;

/// Logits summed in f32 before the sum goes on in f64.
const BLOCK: usize = 1024;

/// The summary of one row of logits.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RowSummary {
    /// The log normalizer log Σ exp(logit), nats.
    pub log_sum: f32,
    /// The entropy of the row's distribution, nats.
    pub entropy: f32,
}

#[inline(always)]
fn summary_body<const FUSED: bool>(logits: &[f32]) -> RowSummary {
    let largest = max(logits);
    let (mut total, mut moment) = (0.0f64, 0.0f64);
    for block in logits.chunks(BLOCK) {
        let (chunks, rest) = block.as_chunks::<LANES>();
        let (mut weights, mut moments) = ([0.0; LANES], [0.0; LANES]);
        for chunk in chunks {
            for i in 0..LANES {
                let x = chunk[i] - largest;
                let weight = exp::<FUSED>(x);
                weights[i] += weight;
                moments[i] = fma::<FUSED>(weight, x, moments[i]);
            }
        }
        let (mut sum, mut product) = (sum_lanes(weights), sum_lanes(moments));
        for logit in rest {
            let x = logit - largest;
            sum += exp::<FUSED>(x);
            product += exp::<FUSED>(x) * x;
        }
        total += f64::from(sum);
        moment += f64::from(product);
    }
    RowSummary {
        log_sum: (f64::from(largest) + total.ln()) as f32,
        entropy: (total.ln() - moment / total) as f32,
    }
}
dispatch!(fn summary = summary_body(logits: &[f32]) -> RowSummary);

/// Summarizes each row of `logits` [rows, `vocab`].
///
/// # Panics
/// If the sizes do not fit.
pub fn summarize_rows(logits: &[f32], vocab: usize, summaries: &mut [RowSummary]) {
    assert_eq!(logits.len(), vocab * summaries.len());
    let (isa, rows) = (isa(), rows_per_task(vocab));
    let pieces = summaries
        .par_chunks_mut(rows)
        .zip(logits.par_chunks(rows * vocab));
    pieces.for_each(|(summaries, logits)| {
        for (row, logits) in summaries.iter_mut().zip(logits.chunks_exact(vocab)) {
            *row = summary(isa, logits);
        }
    });
}

#[inline(always)]
fn backward_body<const FUSED: bool>(
    row: &mut [f32],
    summary: RowSummary,
    g: RowGradient,
    scale: f32,
) {
    let (of_log_prob, of_entropy) = (g.log_prob * scale, g.entropy * scale);
    // −p·(g + e·(log p + H)) for every entry, plus g for the target.
    let constant = of_log_prob + of_entropy * (summary.entropy - summary.log_sum);
    for x in row.iter_mut() {
        let p = exp::<FUSED>(*x - summary.log_sum);
        *x = -p * fma::<FUSED>(of_entropy, *x, constant);
    }
    row[g.target as usize] += of_log_prob;
}
dispatch!(fn backward = backward_body(row: &mut [f32], summary: RowSummary, g: RowGradient, scale: f32));

/// Overwrites each row of logits [rows, `vocab`] with `scale` times the gradient of the loss with respect to
/// them: ∂log p_y/∂x = 1{y} − p, ∂H/∂x = −p·(log p + H).
///
/// # Panics
/// If the sizes do not fit or a target is not below `vocab`.
pub fn log_softmax_backward(
    logits: &mut [f32],
    vocab: usize,
    summaries: &[RowSummary],
    gradients: &[RowGradient],
    scale: f32,
) {
    assert_eq!(logits.len(), vocab * summaries.len());
    assert_eq!(summaries.len(), gradients.len());
    let isa = isa();
    let rows = logits.par_chunks_mut(vocab).zip(summaries).zip(gradients);
    rows.for_each(|((row, summary), gradient)| backward(isa, row, *summary, *gradient, scale));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::simd::all;

    fn naive(logits: &[f64]) -> (Vec<f64>, f64) {
        let total: f64 = logits.iter().map(|x| x.exp()).sum();
        let log_probs: Vec<f64> = logits.iter().map(|x| x - total.ln()).collect();
        let entropy = -log_probs.iter().map(|l| l.exp() * l).sum::<f64>();
        (log_probs, entropy)
    }

    #[test]
    fn summaries_and_gradients_against_differences() {
        for vocab in [1, 5, 16, 33, 2500] {
            let logits: Vec<f32> = (0..vocab).map(|i| (i as f32 * 0.83).sin() * 5.0).collect();
            let wide: Vec<f64> = logits.iter().copied().map(f64::from).collect();
            let (log_probs, entropy) = naive(&wide);
            let target = vocab / 2;
            let g = RowGradient {
                target: target as u32,
                log_prob: 0.7,
                entropy: -1.3,
            };
            let loss = |x: &[f64]| {
                let (log_probs, entropy) = naive(x);
                0.7 * log_probs[target] - 1.3 * entropy
            };
            for isa in all() {
                let row = summary(isa, &logits);
                assert!((f64::from(logits[0] - row.log_sum) - log_probs[0]).abs() < 2e-6);
                assert!((f64::from(row.entropy) - entropy).abs() < 4e-6);
                let mut gradient = logits.clone();
                backward(isa, &mut gradient, row, g, 0.5);
                for i in (0..vocab).step_by(1 + vocab / 40) {
                    let (mut up, mut down) = (wide.clone(), wide.clone());
                    up[i] += 1e-4;
                    down[i] -= 1e-4;
                    let want = 0.5 * (loss(&up) - loss(&down)) / 2e-4;
                    assert!(
                        (f64::from(gradient[i]) - want).abs() < 2e-6,
                        "{} {want}",
                        gradient[i]
                    );
                }
            }
        }
    }

    #[test]
    fn rows_do_not_mix() {
        let logits: Vec<f32> = (0..300).map(|i| (i as f32).sin()).collect();
        let mut summaries = vec![RowSummary::default(); 30];
        summarize_rows(&logits, 10, &mut summaries);
        for (row, summary) in logits.chunks(10).zip(&summaries) {
            let total: f32 = row.iter().map(|x| (x - summary.log_sum).exp()).sum();
            assert!((total - 1.0).abs() < 1e-6);
        }
        let mut gradients = vec![RowGradient::default(); 30];
        gradients[3].log_prob = 1.0;
        let mut d = logits;
        log_softmax_backward(&mut d, 10, &summaries, &gradients, 1.0);
        for (i, row) in d.chunks(10).enumerate() {
            assert_eq!(row.iter().any(|x| *x != 0.0), i == 3);
        }
    }
}
