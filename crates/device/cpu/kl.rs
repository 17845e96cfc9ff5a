//! KL divergence of rows of log-distributions.

use super::simd::{LANES, dispatch, exp, isa};
use rayon::prelude::*;

/// eᵖ·(p − q) in f64, and 0 where eᵖ is 0, for any q.
#[inline(always)]
fn term<const FUSED: bool>(p: f32, q: f32) -> f64 {
    let weight = exp::<FUSED>(p);
    let product = f64::from(weight) * f64::from(p - q);
    if weight == 0.0 { 0.0 } else { product }
}

/// The KL divergence of one row of scores and log normalizers.
#[inline(always)]
fn body<const FUSED: bool>(p: &[f32], q: &[f32], [p_sum, q_sum]: [f32; 2]) -> f64 {
    let ((p, p_rest), (q, q_rest)) = (p.as_chunks::<LANES>(), q.as_chunks::<LANES>());
    let mut lanes = [0.0; LANES];
    for (p, q) in p.iter().zip(q) {
        for i in 0..LANES {
            lanes[i] += term::<FUSED>(p[i] - p_sum, q[i] - q_sum);
        }
    }
    let mut total = lanes.iter().sum::<f64>();
    for (p, q) in p_rest.iter().zip(q_rest) {
        total += term::<FUSED>(p - p_sum, q - q_sum);
    }
    total
}

dispatch!(fn kl_row = body(p: &[f32], q: &[f32], sums: [f32; 2]) -> f64);

/// Σ_v exp(p)·(p − q) for each row of two log-distributions, in nats, accumulated in f64. Each is
/// given by its scores [rows, `vocab`] and the log normalizer of each row \[rows\]. A token of p = −∞ adds
/// nothing; a token that only q excludes makes the sum +∞.
///
/// # Panics
/// If the lengths differ.
#[must_use]
pub fn kl_rows(p: (&[f32], &[f32]), q: (&[f32], &[f32]), vocab: usize) -> Vec<f32> {
    assert_eq!((p.0.len(), p.1.len()), (q.0.len(), q.1.len()));
    assert_eq!(p.0.len(), p.1.len() * vocab);
    let isa = isa();
    let scores = p.0.par_chunks(vocab).zip(q.0.par_chunks(vocab));
    let sums = p.1.par_iter().zip(q.1);
    scores
        .zip(sums)
        .map(|((p, q), (p_sum, q_sum))| kl_row(isa, p, q, [*p_sum, *q_sum]) as f32)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_pair_in_both_directions() {
        let log = |p: [f32; 3]| p.map(f32::ln);
        let (p, q) = (log([0.5, 0.3, 0.2]), log([0.1, 0.6, 0.3]));
        let (pq, qp) = ([p, q].concat(), [q, p].concat());
        let kl = kl_rows((&pq, &[0.0; 2]), (&qp, &[0.0; 2]), 3);
        assert!((kl[0] - 0.515_681_8).abs() < 1e-6);
        assert!((kl[1] - 0.376_584).abs() < 1e-6);
        assert_eq!(kl_rows((&p, &[0.0]), (&p, &[0.0]), 3), [0.0]);
        // The same distributions with shifted scores.
        let higher = qp.iter().map(|x| x + 2.0).collect::<Vec<f32>>();
        let again = kl_rows((&pq, &[0.0; 2]), (&higher, &[2.0; 2]), 3);
        assert!(again.iter().zip(&kl).all(|(a, b)| (a - b).abs() < 1e-6));
    }

    #[test]
    fn wide_rows_on_every_instruction_set() {
        let row = |shift: f32| -> Vec<f32> {
            let scores: Vec<f32> = (0..333)
                .map(|i| (i as f32 * 0.9 + shift).cos() * 4.0)
                .collect();
            let total: f64 = scores.iter().map(|x| f64::from(*x).exp()).sum();
            scores.iter().map(|x| x - total.ln() as f32).collect()
        };
        let (p, q) = (row(0.0), row(1.0));
        let want: f64 = p
            .iter()
            .zip(&q)
            .map(|(&p, &q)| f64::from(p).exp() * f64::from(p - q))
            .sum();
        for isa in crate::cpu::simd::all() {
            assert!((kl_row(isa, &p, &q, [0.0; 2]) - want).abs() < 1e-6 * want);
            assert_eq!(kl_row(isa, &p, &p, [0.0; 2]), 0.0);
        }
    }

    #[test]
    fn zero_probabilities() {
        let inf = f32::NEG_INFINITY;
        let kl = |p: [f32; 2], q: [f32; 2]| kl_rows((&p, &[0.0]), (&q, &[0.0]), 2);
        assert_eq!(kl([0.0, inf], [0.0, -5.0]), [0.0]);
        assert_eq!(kl([-0.5, -0.9], [0.0, inf]), [f32::INFINITY]);
    }
}
