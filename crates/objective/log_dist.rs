//! Whole log-distributions, row by row, where they were computed.

use crate::{Error, Result};
use rlhf_tensor::cpu;
use std::borrow::Cow;

/// Rows of log-distributions over V tokens, nats: for each row V scores, and the number by which
/// they exceed the log-probabilities. A network lends the logits it has rather than copy them.
#[derive(Debug, Clone)]
pub struct LogDist<'a> {
    scores: Cow<'a, [f32]>,
    log_sums: Vec<f32>,
    vocab: usize,
}

/// Who is shown log-distributions as a batch is read: each time the next of the N response tokens,
/// and their rows.
pub type Visit<'a> = dyn FnMut(std::ops::Range<usize>, LogDist<'_>) -> Result<()> + 'a;

impl<'a> LogDist<'a> {
    /// Of `scores`, [rows, V], and `log_sums`, \[rows\]: the log-probability of a token is its score
    /// minus its row's log Σ exp(score), nats.
    ///
    /// # Errors
    /// If there are not V scores a row, or V is 0.
    pub fn new(
        scores: impl Into<Cow<'a, [f32]>>,
        log_sums: Vec<f32>,
        vocab: usize,
    ) -> Result<Self> {
        let scores = scores.into();
        let (expected, got) = (log_sums.len().saturating_mul(vocab), scores.len());
        match expected == got && vocab > 0 {
            true => Ok(Self {
                scores,
                log_sums,
                vocab,
            }),
            false => Err(Error::Size {
                what: "scores of log-distributions",
                expected,
                got,
            }),
        }
    }

    /// Of log-probabilities, [rows, V], nats.
    ///
    /// # Errors
    /// If they are no whole rows.
    pub fn of_log_probs(log_probs: impl Into<Cow<'a, [f32]>>, vocab: usize) -> Result<Self> {
        let log_probs = log_probs.into();
        let rows = log_probs.len().checked_div(vocab).unwrap_or(0);
        Self::new(log_probs, vec![0.0; rows], vocab)
    }

    /// V.
    #[must_use]
    pub fn vocab(&self) -> usize {
        self.vocab
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.log_sums.len()
    }

    /// The log-probabilities of every row, one row behind the other: [rows, V], nats.
    #[must_use]
    pub fn to_vec(&self) -> Vec<f32> {
        let rows = self.scores.chunks_exact(self.vocab).zip(&self.log_sums);
        rows.flat_map(|(row, log_sum)| row.iter().map(move |x| x - log_sum))
            .collect()
    }

    /// The log-probabilities of each row: \[V\], nats.
    #[must_use]
    pub fn to_rows(&self) -> Vec<Vec<f32>> {
        let flat = self.to_vec();
        flat.chunks_exact(self.vocab).map(<[f32]>::to_vec).collect()
    }

    /// KL(p ‖ q) of each of these rows p from the same row q of `other`, nats: \[rows\].
    ///
    /// # Errors
    /// If there are not as many rows, or not as many tokens.
    pub fn kl(&self, other: &LogDist<'_>) -> Result<Vec<f32>> {
        for (what, expected, got) in [
            ("rows of log-distributions", self.rows(), other.rows()),
            ("vocabulary entries", self.vocab, other.vocab),
        ] {
            if expected != got {
                return Err(Error::Size {
                    what,
                    expected,
                    got,
                });
            }
        }
        let (p, q) = (
            (&*self.scores, &self.log_sums[..]),
            (&*other.scores, &other.log_sums[..]),
        );
        Ok(cpu::kl_rows(p, q, self.vocab))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_that_differ_by_a_number_a_row_are_one_distribution() {
        let p = LogDist::of_log_probs([0.5f32.ln(), 0.5f32.ln()].repeat(2), 2).unwrap();
        let q = [
            0.25f32.ln() + 3.0,
            0.75f32.ln() + 3.0,
            0.25f32.ln(),
            0.75f32.ln(),
        ];
        let q = LogDist::new(q.to_vec(), vec![3.0, 0.0], 2).unwrap();
        let expected = 0.5 * (4f32 / 3.0).ln();
        for kl in p.kl(&q).unwrap() {
            assert!((kl - expected).abs() < 1e-6, "{kl}");
        }
        let rows = q.to_rows();
        assert_eq!(rows.concat(), q.to_vec());
        assert!(rows.iter().all(|row| (row[0].exp() - 0.25).abs() < 1e-6));
        assert_eq!((q.rows(), q.vocab()), (2, 2));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(LogDist::of_log_probs(vec![0.0; 5], 2).is_err());
        assert!(LogDist::of_log_probs(vec![0.0; 5], 0).is_err());
        assert!(LogDist::of_log_probs(vec![], 0).is_err());
        assert!(LogDist::new(vec![0.0; 4], vec![0.0; 3], 2).is_err());
        let two = LogDist::of_log_probs(vec![0.0; 4], 2).unwrap();
        let wide = LogDist::of_log_probs(vec![0.0; 6], 3).unwrap();
        assert!(
            two.kl(&wide)
                .unwrap_err()
                .to_string()
                .contains("vocabulary")
        );
        let one = LogDist::of_log_probs(vec![0.0; 2], 2).unwrap();
        assert!(two.kl(&one).unwrap_err().to_string().contains("rows"));
    }
}
