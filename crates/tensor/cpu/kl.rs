//! KL divergence of rows of log-distributions.

use rayon::prelude::*;

/// Σ_v exp(p)·(p − q) for each row of two row-major [rows, `vocab`] log-distributions, in nats,
/// accumulated in f64. A token with p = −∞ adds nothing; one that only q excludes makes it +∞.
///
/// # Panics
/// If the lengths differ or are no multiple of `vocab`.
#[must_use]
pub fn kl_rows(p: &[f32], q: &[f32], vocab: usize) -> Vec<f32> {
    assert_eq!(p.len(), q.len());
    assert_eq!(p.len() % vocab, 0);
    let row = |(p, q): (&[f32], &[f32])| {
        let term = |(&p, &q): (&f32, &f32)| {
            if p == f32::NEG_INFINITY {
                0.0
            } else {
                f64::from(p.exp()) * f64::from(p - q)
            }
        };
        p.iter().zip(q).map(term).sum::<f64>() as f32
    };
    p.par_chunks(vocab)
        .zip(q.par_chunks(vocab))
        .map(row)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_pair_in_both_directions() {
        let log = |p: [f32; 3]| p.map(f32::ln);
        let (p, q) = (log([0.5, 0.3, 0.2]), log([0.1, 0.6, 0.3]));
        let kl = kl_rows(&[p, q].concat(), &[q, p].concat(), 3);
        assert!((kl[0] - 0.515_681_8).abs() < 1e-6);
        assert!((kl[1] - 0.376_584_06).abs() < 1e-6);
        assert_eq!(kl_rows(&p, &p, 3), [0.0]);
    }

    #[test]
    fn zero_probabilities() {
        let inf = f32::NEG_INFINITY;
        assert_eq!(kl_rows(&[0.0, inf], &[0.0, -5.0], 2), [0.0]);
        assert_eq!(kl_rows(&[-0.5, -0.9], &[0.0, inf], 2), [f32::INFINITY]);
    }
}
