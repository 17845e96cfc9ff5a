//! Gradients with respect to rows of V numbers.

use crate::Result;
use crate::rows::{check_rows, check_vocab, whole_rows};
use rlhf_device::Rows;
use std::borrow::Cow;

/// A gradient with respect to rows of V numbers, [rows, V]: of log-distributions with respect to their
/// scores, of action values with respect to themselves.
#[derive(Debug, Clone, PartialEq)]
pub struct RowGradients(Rows<'static>);

/// Of rows that lie where they were computed.
impl From<Rows<'static>> for RowGradients {
    fn from(rows: Rows<'static>) -> Self {
        Self(rows)
    }
}

impl RowGradients {
    /// Of numbers on the host, [rows, V].
    ///
    /// # Errors
    /// If they are no whole rows.
    pub fn new(rows: Vec<f32>, vocab: usize) -> Result<Self> {
        whole_rows("gradients of rows", rows.len(), vocab)?;
        Ok(Self(Rows::new(rows, vocab)))
    }

    /// Each row of derivatives times its number.
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

    /// The same, for a network on the host that takes them.
    #[must_use]
    pub fn to_host(&self) -> Cow<'_, [f32]> {
        self.0.to_host()
    }

    /// Where they lie, for a network that takes them there.
    #[must_use]
    pub fn as_rows(&self) -> &Rows<'static> {
        &self.0
    }
}
