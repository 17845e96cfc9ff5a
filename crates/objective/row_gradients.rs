//! Gradients with respect to rows of V numbers.

use crate::Result;
use crate::rows::{check_rows, check_vocab, whole_rows};

/// A gradient with respect to rows of V numbers, [rows, V]: of log-distributions with respect to their
/// scores, of action values with respect to themselves.
#[derive(Debug, Clone, PartialEq)]
pub struct RowGradients {
    rows: Vec<f32>,
    vocab: usize,
}

impl RowGradients {
    /// Of numbers on the host, [rows, V].
    ///
    /// # Errors
    /// If they are no whole rows.
    pub fn new(rows: Vec<f32>, vocab: usize) -> Result<Self> {
        whole_rows("gradients of rows", rows.len(), vocab)?;
        Ok(Self { rows, vocab })
    }

    /// Each row of derivatives times its number.
    pub(crate) fn weighted(mut rows: Vec<f32>, vocab: usize, upstream: &[f32]) -> Result<Self> {
        whole_rows("gradients of rows", rows.len(), vocab)?;
        check_rows(upstream.len(), rows.len() / vocab)?;
        for (row, upstream) in rows.chunks_exact_mut(vocab).zip(upstream) {
            row.iter_mut().for_each(|x| *x *= upstream);
        }
        Ok(Self { rows, vocab })
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.rows.len() / self.vocab
    }

    /// V.
    #[must_use]
    pub fn vocab(&self) -> usize {
        self.vocab
    }

    /// Adds the gradient of another loss with respect to the same rows.
    ///
    /// # Errors
    /// If rows or vocabularies differ.
    pub fn add(&mut self, other: &Self) -> Result<()> {
        check_rows(other.rows(), self.rows())?;
        check_vocab(other.vocab, self.vocab)?;
        let pairs = self.rows.iter_mut().zip(&other.rows);
        pairs.for_each(|(sum, next)| *sum += next);
        Ok(())
    }

    /// The numbers on the host, [rows, V].
    #[must_use]
    pub fn to_vec(&self) -> Vec<f32> {
        self.rows.clone()
    }

    /// The same, for a network on the host that takes them.
    #[must_use]
    pub fn as_host(&self) -> &[f32] {
        &self.rows
    }
}
