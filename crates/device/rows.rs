//! Rows of V numbers in the memory where they were computed. They are reduced there, and the results are one
//! number per row or token.

use crate::RowGradient;
use crate::cpu::{
    RowSummary, Scored, expected_tilt_rows, greedy_row, kl_rows, log_softmax_backward, sample_rows,
    soft_value_rows, summarize_rows, top,
};
use std::borrow::Cow;
use std::cell::OnceCell;

/// Rows of V numbers, [rows, V], borrowed from a device or owned by the host.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows<'a> {
    numbers: Cow<'a, [f32]>,
    vocab: usize,
}

impl<'a> Rows<'a> {
    /// Rows of numbers on the host.
    ///
    /// # Panics
    /// If they are not whole rows of `vocab` numbers.
    #[must_use]
    pub fn new(numbers: impl Into<Cow<'a, [f32]>>, vocab: usize) -> Self {
        let numbers = numbers.into();
        assert!(vocab > 0 && numbers.len() % vocab == 0, "whole rows");
        Self { numbers, vocab }
    }

    /// The number of rows.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.numbers.len() / self.vocab
    }

    /// V, the number of entries of a row.
    #[must_use]
    pub fn vocab(&self) -> usize {
        self.vocab
    }

    /// The numbers on the host, [rows, V], copied if they are elsewhere.
    #[must_use]
    pub fn to_host(&self) -> Cow<'_, [f32]> {
        Cow::Borrowed(&self.numbers)
    }

    /// The entry of one token in each row: \[rows\].
    ///
    /// # Panics
    /// If a token is not below V.
    #[must_use]
    pub fn gather(&self, tokens: &[u32]) -> Vec<f32> {
        let rows = self.each().zip(tokens);
        rows.map(|(row, token)| row[*token as usize]).collect()
    }

    /// Rows that are zero except for the entry of one token each.
    ///
    /// # Panics
    /// If a token is not below V.
    #[must_use]
    pub fn one_hot(tokens: &[u32], numbers: &[f32], vocab: usize) -> Rows<'static> {
        let mut rows = vec![0.0; tokens.len() * vocab];
        let each = rows.chunks_exact_mut(vocab).zip(tokens).zip(numbers);
        each.for_each(|((row, token), number)| row[*token as usize] = *number);
        Rows::new(rows, vocab)
    }

    /// Multiplies each row by a number of its own.
    #[must_use]
    pub fn scaled(self, by: &[f32]) -> Rows<'static> {
        let vocab = self.vocab;
        let mut rows = self.numbers.into_owned();
        for (row, by) in rows.chunks_exact_mut(vocab).zip(by) {
            row.iter_mut().for_each(|x| *x *= by);
        }
        Rows::new(rows, vocab)
    }

    /// Adds the rows of `other`, elementwise.
    ///
    /// # Panics
    /// If the sizes differ.
    pub fn add(&mut self, other: &Rows<'_>) {
        assert_eq!(self.numbers.len(), other.numbers.len());
        let pairs = self.numbers.to_mut().iter_mut().zip(other.host());
        pairs.for_each(|(sum, next)| *sum += next);
    }

    /// The soft value of each row under a prior, β·log Σ_a p(a)·exp(Q(a)/β), and its derivative with respect
    /// to Q, where these rows are Q. At β = 0 it is the greatest Q among the tokens that the prior allows.
    ///
    /// # Panics
    /// If the sizes differ.
    #[must_use]
    pub fn soft_value(&self, prior: &LogRows<'_>, beta: f32) -> (Vec<f32>, Rows<'static>) {
        let found = soft_value_rows(self.host(), prior.scored(), beta, self.vocab);
        (found.values, Rows::new(found.derivatives, self.vocab))
    }

    pub(crate) fn host(&self) -> &[f32] {
        &self.numbers
    }

    fn each(&self) -> std::slice::ChunksExact<'_, f32> {
        self.numbers.chunks_exact(self.vocab)
    }
}

/// Rows of log-distributions: V scores per row, and the log of their normalizer, nats, which is computed when
/// it is first needed. A score minus it is a log-probability.
#[derive(Debug, Clone)]
pub struct LogRows<'a> {
    scores: Rows<'a>,
    log_sums: OnceCell<Vec<f32>>,
}

impl<'a> LogRows<'a> {
    /// From scores: log-probabilities up to a constant per row.
    #[must_use]
    pub fn of_scores(scores: Rows<'a>) -> Self {
        Self {
            scores,
            log_sums: OnceCell::new(),
        }
    }

    /// From scores and the log Σ exp(score) of each row.
    ///
    /// # Panics
    /// If there is not one number per row.
    #[must_use]
    pub fn new(scores: Rows<'a>, log_sums: Vec<f32>) -> Self {
        assert_eq!(log_sums.len(), scores.rows());
        Self {
            scores,
            log_sums: OnceCell::from(log_sums),
        }
    }

    /// The scores.
    #[must_use]
    pub fn scores(&self) -> &Rows<'a> {
        &self.scores
    }

    fn summaries(&self) -> Vec<RowSummary> {
        let mut summaries = vec![RowSummary::default(); self.scores.rows()];
        summarize_rows(self.scores.host(), self.scores.vocab, &mut summaries);
        summaries
    }

    fn log_sums(&self) -> &[f32] {
        self.log_sums.get_or_init(|| {
            let summaries = self.summaries();
            summaries.iter().map(|row| row.log_sum).collect()
        })
    }

    fn scored(&self) -> Scored<'_> {
        Scored {
            scores: self.scores.host(),
            log_sums: self.log_sums(),
        }
    }

    /// The log-probabilities on the host, [rows, V], nats.
    #[must_use]
    pub fn to_vec(&self) -> Vec<f32> {
        let rows = self.scores.each().zip(self.log_sums());
        rows.flat_map(|(row, log_sum)| row.iter().map(move |x| x - log_sum))
            .collect()
    }

    /// The log-probability of one token in each row, nats: \[rows\].
    ///
    /// # Panics
    /// If a token is not below V.
    #[must_use]
    pub fn gather(&self, tokens: &[u32]) -> Vec<f32> {
        let rows = self.scores.each().zip(self.log_sums()).zip(tokens);
        rows.map(|((row, log_sum), token)| row[*token as usize] - log_sum)
            .collect()
    }

    /// The entropy of each row, nats: \[rows\].
    #[must_use]
    pub fn entropy(&self) -> Vec<f32> {
        self.summaries().iter().map(|row| row.entropy).collect()
    }

    /// The gradient with respect to the scores, from the gradients with respect to one token's log-probability
    /// and the entropy in each row: ∂log p_y/∂x = 1{y} − p, ∂H/∂x = −p·(log p + H).
    ///
    /// # Panics
    /// If the sizes differ.
    #[must_use]
    pub fn gradient(&self, of_rows: &[RowGradient]) -> Rows<'static> {
        let mut rows = self.scores.host().to_vec();
        let vocab = self.scores.vocab;
        log_softmax_backward(&mut rows, vocab, &self.summaries(), of_rows, 1.0);
        Rows::new(rows, vocab)
    }

    /// KL(p ‖ q) of each of these rows p from the same row q of `other`, nats: \[rows\].
    ///
    /// # Panics
    /// If the sizes differ.
    #[must_use]
    pub fn kl(&self, other: &LogRows<'_>) -> Vec<f32> {
        let (p, q) = (self.scored(), other.scored());
        kl_rows(
            (p.scores, p.log_sums),
            (q.scores, q.log_sums),
            self.scores.vocab,
        )
    }

    /// Σ_a π(a)·(β·(log π(a) − log p(a)) − Q(a)) of each row, where these rows are π, and its derivative with
    /// respect to the scores of π. Without action values Q is zero.
    ///
    /// # Panics
    /// If the sizes differ.
    #[must_use]
    pub fn expected_tilt(
        &self,
        prior: &LogRows<'_>,
        action_values: Option<&Rows<'_>>,
        beta: f32,
    ) -> (Vec<f32>, Rows<'static>) {
        let values = match action_values {
            Some(values) => Cow::Borrowed(values.host()),
            None => Cow::Owned(vec![0.0; self.scores.host().len()]),
        };
        let vocab = self.scores.vocab;
        let found = expected_tilt_rows(self.scored(), prior.scored(), &values, beta, vocab);
        (found.values, Rows::new(found.derivatives, vocab))
    }

    /// Draws a token of each row by inverting its cumulative distribution at the row's uniform number in
    /// [0, 1), and returns it with its log-probability, nats.
    ///
    /// # Panics
    /// If there is not one number per row.
    #[must_use]
    pub fn draw(&self, uniforms: &[f64]) -> Vec<(u32, f32)> {
        if uniforms.is_empty() {
            return Vec::new();
        }
        sample_rows(self.scores.host(), uniforms)
    }

    /// The most probable token of each row, the lowest id among equal ones, and its log-probability, nats.
    #[must_use]
    pub fn greedy(&self) -> Vec<(u32, f32)> {
        self.scores.each().map(greedy_row).collect()
    }

    /// The `count` most probable tokens of each row with their log-probabilities, nats, the most probable
    /// first, equal ones by id. Tokens of probability 0 are left out.
    #[must_use]
    pub fn candidates(&self, count: usize) -> Vec<Vec<(u32, f32)>> {
        let rows = self.scores.each().zip(self.log_sums());
        let rows = rows.map(|(row, log_sum)| {
            let mut found = top(row, count);
            found.iter_mut().for_each(|(_, score)| *score -= log_sum);
            found
        });
        rows.collect()
    }
}
