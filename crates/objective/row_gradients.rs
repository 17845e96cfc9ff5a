//! Gradients with respect to rows of log-distributions or action values.

use crate::Result;
use crate::rows::{check_rows, check_vocab, check_whole_rows};
use rlhf_device::Rows;
use std::borrow::Cow;

/// The gradient of a loss with respect to rows, [rows, V]: the scores of log-distributions, or action
/// values.
#[derive(Debug, Clone, PartialEq)]
pub struct RowGradients(Rows<'static>);

/// From rows on the device that computed them.
impl From<Rows<'static>> for RowGradients {
    fn from(rows: Rows<'static>) -> Self {
        Self(rows)
    }
}

impl RowGradients {
    /// From numbers on the host, [rows, V].
    ///
    /// # Errors
    /// If their number is not a multiple of V.
    pub fn new(rows: Vec<f32>, vocab: usize) -> Result<Self> {
        check_whole_rows("gradients of rows", rows.len(), vocab)?;
        Ok(Self(Rows::new(rows, vocab)))
    }

    /// Multiplies each row of derivatives by its upstream gradient.
    pub(crate) fn weighted(rows: Rows<'static>, upstream: &[f32]) -> Result<Self> {
        check_rows(upstream.len(), rows.rows())?;
        Ok(Self(rows.scaled(upstream)))
    }

    /// How many rows there are.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.0.rows()
    }

    /// V.
    #[must_use]
    pub fn vocab(&self) -> usize {
        self.0.vocab()
    }

    /// Adds the gradient of another loss with respect to the same rows.
    ///
    /// # Errors
    /// If rows or vocabularies differ.
    pub fn add(&mut self, other: &Self) -> Result<()> {
        check_rows(other.rows(), self.rows())?;
        check_vocab(other.vocab(), self.vocab())?;
        self.0.add(&other.0);
        Ok(())
    }

    /// The numbers on the host, [rows, V].
    #[must_use]
    pub fn to_vec(&self) -> Vec<f32> {
        self.to_host().into_owned()
    }

    /// The numbers on the host, [rows, V], borrowed if they are there.
    #[must_use]
    pub fn to_host(&self) -> Cow<'_, [f32]> {
        self.0.to_host()
    }

    /// The rows on their device.
    #[must_use]
    pub fn as_rows(&self) -> &Rows<'static> {
        &self.0
    }
}
