//! Log-distributions over the vocabulary, as rows on the device that computed them.

use crate::rows::{check_rows, check_tokens, check_vocab};
use crate::{Error, Result, RowGradients};
use rlhf_device::{LogRows, RowGradient, Rows};
use serde::Serialize;
use std::borrow::Cow;
use std::cell::Cell;

/// Rows of log-distributions over V tokens, nats: for each row V scores (logits) and their log-sum-exp.
/// The scores are borrowed from the network, not copied.
///
/// It is a handle. Its operations run on the device and return one number per row or token. Whole rows
/// are copied to the host only by [`to_vec`](Self::to_vec), [`to_rows`](Self::to_rows) and
/// [`copy_scores`](Self::copy_scores).
#[derive(Debug, Clone)]
pub struct LogDist<'a>(LogRows<'a>);

/// From rows on a device.
impl<'a> From<LogRows<'a>> for LogDist<'a> {
    fn from(rows: LogRows<'a>) -> Self {
        Self(rows)
    }
}

thread_local! {
    static ROWS_COPIED: Cell<usize> = const { Cell::new(0) };
}

/// How many rows of log-distributions this thread has copied to the host so far. A run whose prior does
/// not sample or mix on the host copies none.
#[must_use]
pub fn rows_copied() -> usize {
    ROWS_COPIED.get()
}

/// A callback that a forward pass calls with consecutive ranges of the N response tokens and their
/// log-distributions.
pub type RowCallback<'a> = dyn FnMut(std::ops::Range<usize>, LogDist<'_>) -> Result<()> + 'a;

/// How a token is chosen from its distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Draw {
    /// At random, from the whole distribution, as training requires.
    #[default]
    Sample,
    /// The most probable token; the lowest id if several are.
    Greedy,
}

impl<'a> LogDist<'a> {
    /// From `scores`, [rows, V], and `log_sums`, \[rows\]: the log-probability of a token is its score
    /// minus its row's log Σ exp(score), nats.
    ///
    /// # Errors
    /// If there are not V scores a row, or V is 0.
    pub fn new(
        scores: impl Into<Cow<'a, [f32]>>,
        log_sums: Vec<f32>,
        vocab: usize,
    ) -> Result<Self> {
        let (rows, scores) = (log_sums.len(), scores.into());
        check_scores(scores.len(), rows.saturating_mul(vocab), vocab)?;
        Ok(Self(LogRows::new(Rows::new(scores, vocab), log_sums)))
    }

    /// From scores alone, [rows, V]: log-probabilities up to a constant per row. The constant is computed
    /// when it is needed; drawing does not need it.
    ///
    /// # Errors
    /// If their number is not a multiple of V.
    pub fn of_scores(scores: impl Into<Cow<'a, [f32]>>, vocab: usize) -> Result<Self> {
        let scores = scores.into();
        let rows = scores.len().checked_div(vocab).unwrap_or(0);
        check_scores(scores.len(), rows * vocab, vocab)?;
        Ok(Self(LogRows::of_scores(Rows::new(scores, vocab))))
    }

    /// From log-probabilities, [rows, V], nats.
    ///
    /// # Errors
    /// If their number is not a multiple of V.
    pub fn of_log_probs(log_probs: impl Into<Cow<'a, [f32]>>, vocab: usize) -> Result<Self> {
        let log_probs = log_probs.into();
        let rows = log_probs.len().checked_div(vocab).unwrap_or(0);
        Self::new(log_probs, vec![0.0; rows], vocab)
    }

    /// V.
    #[must_use]
    pub fn vocab(&self) -> usize {
        self.0.scores().vocab()
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.0.scores().rows()
    }

    /// The rows on their device.
    pub(crate) fn as_rows(&self) -> &LogRows<'a> {
        &self.0
    }

    /// The log-probabilities of all rows, flat: [rows, V], nats.
    #[must_use]
    pub fn to_vec(&self) -> Vec<f32> {
        ROWS_COPIED.set(ROWS_COPIED.get() + self.rows());
        self.0.to_vec()
    }

    /// The log-probabilities of each row: \[V\], nats.
    #[must_use]
    pub fn to_rows(&self) -> Vec<Vec<f32>> {
        let flat = self.to_vec();
        flat.chunks_exact(self.vocab())
            .map(<[f32]>::to_vec)
            .collect()
    }

    /// Replaces the contents of `into` by the scores, [rows, V]: log-probabilities up to a constant a
    /// row. For decoders that change rows on the host.
    pub fn copy_scores(&self, into: &mut Vec<f32>) {
        ROWS_COPIED.set(ROWS_COPIED.get() + self.rows());
        into.clear();
        into.extend_from_slice(&self.0.scores().to_host());
    }

    /// KL(p ‖ q) of each of these rows p to the same row q of `other`, nats: \[rows\].
    ///
    /// # Errors
    /// If the numbers of rows or of vocabulary entries differ.
    pub fn kl(&self, other: &LogDist<'_>) -> Result<Vec<f32>> {
        self.check_same_shape(other)?;
        Ok(self.0.kl(&other.0))
    }

    /// The gradient of Σ `upstream`·[`kl`](Self::kl) with respect to these scores:
    /// p·(log p − log q − KL) in each row.
    ///
    /// # Errors
    /// As [`kl`](Self::kl), or if `upstream` does not have one number per row.
    pub fn kl_gradient(&self, other: &LogDist<'_>, upstream: &[f32]) -> Result<RowGradients> {
        self.check_same_shape(other)?;
        let (_, derivatives) = self.0.expected_tilt(&other.0, None, 1.0);
        RowGradients::weighted(derivatives, upstream)
    }

    /// The log-probability of one token per row, nats: \[rows\].
    ///
    /// # Errors
    /// If there is not one token per row, or one is not in the vocabulary.
    pub fn gather(&self, tokens: &[u32]) -> Result<Vec<f32>> {
        check_tokens(tokens, self.rows(), self.vocab())?;
        Ok(self.0.gather(tokens))
    }

    /// The entropy of each row, nats: \[rows\].
    #[must_use]
    pub fn entropy(&self) -> Vec<f32> {
        self.0.entropy()
    }

    /// The gradient of Σ `log_probs`·[`gather`](Self::gather) + Σ `entropies`·[`entropy`](Self::entropy)
    /// with respect to these scores: 1{token} − p, and −p·(log p + H).
    ///
    /// # Errors
    /// As [`gather`](Self::gather), or if there is not one number per row.
    pub fn gather_gradient(
        &self,
        tokens: &[u32],
        log_probs: &[f32],
        entropies: &[f32],
    ) -> Result<RowGradients> {
        check_tokens(tokens, self.rows(), self.vocab())?;
        check_rows(log_probs.len(), self.rows())?;
        check_rows(entropies.len(), self.rows())?;
        let upstream = tokens.iter().zip(log_probs).zip(entropies);
        let upstream = upstream.map(|((&target, &log_prob), &entropy)| RowGradient {
            target,
            log_prob,
            entropy,
        });
        let upstream: Vec<_> = upstream.collect();
        Ok(RowGradients::from(self.0.gradient(&upstream)))
    }

    /// Chooses a token of each row: at random by inverting the cumulative distribution at the row's
    /// uniform number in [0, 1), or the most probable one. Returns the token and its log-probability,
    /// nats.
    ///
    /// # Errors
    /// If there is not one uniform number per row.
    pub fn draw(&self, uniforms: &[f64], draw: Draw) -> Result<Vec<(u32, f32)>> {
        check_rows(uniforms.len(), self.rows())?;
        Ok(match draw {
            Draw::Sample => self.0.draw(uniforms),
            Draw::Greedy => self.0.greedy(),
        })
    }

    /// The `count` most probable tokens of each row with their log-probabilities, nats, sorted by
    /// descending probability and then by id. Tokens of probability 0 are left out.
    #[must_use]
    pub fn candidates(&self, count: usize) -> Vec<Vec<(u32, f32)>> {
        self.0.candidates(count)
    }

    pub(crate) fn check_same_shape(&self, other: &LogDist<'_>) -> Result<()> {
        check_rows(other.rows(), self.rows())?;
        check_vocab(other.vocab(), self.vocab())
    }
}

/// Checks that there are `expected` scores, and that V is not 0.
fn check_scores(got: usize, expected: usize, vocab: usize) -> Result<()> {
    if got == expected && vocab > 0 {
        return Ok(());
    }
    Err(Error::Size {
        what: "scores of log-distributions",
        expected,
        got,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_that_differ_by_a_constant_a_row_are_the_same_distribution() {
        let p = LogDist::of_log_probs([0.5f32.ln(), 0.5f32.ln()].repeat(2), 2).unwrap();
        let q = [
            0.25f32.ln() + 3.0,
            0.75f32.ln() + 3.0,
            0.25f32.ln(),
            0.75f32.ln(),
        ];
        let with_sums = LogDist::new(q.to_vec(), vec![3.0, 0.0], 2).unwrap();
        let without_sums = LogDist::of_scores(&q[..], 2).unwrap();
        let expected = 0.5 * (4f32 / 3.0).ln();
        for q in [with_sums, without_sums] {
            for kl in p.kl(&q).unwrap() {
                assert!((kl - expected).abs() < 1e-6, "{kl}");
            }
            let rows = q.to_rows();
            assert_eq!(rows.concat(), q.to_vec());
            assert!(rows.iter().all(|row| (row[0].exp() - 0.25).abs() < 1e-6));
            assert_eq!((q.rows(), q.vocab()), (2, 2));
            let taken = q.gather(&[1, 0]).unwrap();
            assert!((taken[0].exp() - 0.75).abs() < 1e-6 && (taken[1].exp() - 0.25).abs() < 1e-6);
        }
    }

    #[test]
    fn wrong_shapes_and_tokens_are_errors() {
        assert!(LogDist::of_log_probs(vec![0.0; 5], 2).is_err());
        assert!(LogDist::of_log_probs(vec![0.0; 5], 0).is_err());
        assert!(LogDist::of_log_probs(vec![], 0).is_err());
        assert!(LogDist::of_scores(vec![0.0; 5], 2).is_err());
        assert!(LogDist::of_scores(vec![], 0).is_err());
        assert!(LogDist::new(vec![0.0; 4], vec![0.0; 3], 2).is_err());
        let two = LogDist::of_log_probs(vec![0.0; 4], 2).unwrap();
        let assert_names = |error: Error, word: &str| {
            let text = error.to_string();
            assert!(text.contains(word), "{text}");
        };
        let wide = LogDist::of_log_probs(vec![0.0; 6], 3).unwrap();
        assert_names(two.kl(&wide).unwrap_err(), "vocabulary");
        let one = LogDist::of_log_probs(vec![0.0; 2], 2).unwrap();
        assert_names(two.kl(&one).unwrap_err(), "rows");
        assert_names(two.gather(&[0]).unwrap_err(), "rows");
        assert_names(two.gather(&[0, 2]).unwrap_err(), "token 2");
        assert_names(two.draw(&[0.5], Draw::Sample).unwrap_err(), "rows");
        assert_names(two.kl_gradient(&two, &[1.0]).unwrap_err(), "rows");
    }

    #[test]
    fn draw_inverts_the_cumulative_distribution() {
        let scores = [0.0, 2f32.ln(), 5f32.ln(), 0.0].map(|x| x + 1.0);
        let rows = LogDist::of_scores(scores.repeat(2), 4).unwrap();
        // The cumulative probabilities are 1/9, 3/9, 8/9 and 1.
        let drawn = rows.draw(&[0.2, 0.95], Draw::Sample).unwrap();
        assert_eq!((drawn[0].0, drawn[1].0), (1, 3));
        assert!((drawn[0].1 - (2f32 / 9.0).ln()).abs() < 1e-6);
        let greedy = rows.draw(&[0.2, 0.95], Draw::Greedy).unwrap();
        assert_eq!((greedy[0].0, greedy[1].0), (2, 2));
        let found = &rows.candidates(3)[1];
        let tokens: Vec<u32> = found.iter().map(|(token, _)| *token).collect();
        assert_eq!(tokens, [2, 1, 0]);
        assert!((found[0].1 - (5f32 / 9.0).ln()).abs() < 1e-6);
        let none = LogDist::of_scores(vec![], 4).unwrap();
        assert!(none.draw(&[], Draw::Sample).unwrap().is_empty());
    }

    #[test]
    fn gradients_match_finite_differences() {
        let wave = |shift: f32| (0..10).map(move |i| (i as f32 * 1.1 + shift).sin());
        let (scores, other): (Vec<f32>, Vec<f32>) = (wave(0.0).collect(), wave(2.0).collect());
        let other = LogDist::of_scores(other, 5).unwrap();
        let (tokens, a, b, c) = ([3, 0], [0.7, -1.1], [0.4, 0.9], [1.3, -0.6]);
        let dot =
            |x: &[f32], y: &[f32]| -> f64 { x.iter().zip(y).map(|(x, y)| f64::from(x * y)).sum() };
        let loss = |scores: &[f32]| {
            let rows = LogDist::of_scores(scores, 5).unwrap();
            dot(&rows.gather(&tokens).unwrap(), &a)
                + dot(&rows.entropy(), &b)
                + dot(&rows.kl(&other).unwrap(), &c)
        };
        let rows = LogDist::of_scores(&scores[..], 5).unwrap();
        let mut gradient = rows.gather_gradient(&tokens, &a, &b).unwrap();
        gradient
            .add(&rows.kl_gradient(&other, &c).unwrap())
            .unwrap();
        for (i, got) in gradient.to_vec().into_iter().enumerate() {
            let at = |by: f32| {
                let mut moved = scores.clone();
                moved[i] += by;
                loss(&moved)
            };
            let slope = (at(1e-2) - at(-1e-2)) / 2e-2;
            assert!((slope - f64::from(got)).abs() < 1e-4, "{i}: {slope} {got}");
        }
    }
}
