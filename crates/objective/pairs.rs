//! Preference pairs.

use crate::{Error, PerSeq, Result, Sequences};

/// Preference pairs: responses 2i (chosen) and 2i + 1 (rejected), usually to one shared prompt.
#[derive(Debug, Clone)]
pub struct Pairs {
    sequences: Sequences,
}

impl Pairs {
    /// From responses in the order chosen, rejected, chosen, rejected, …
    ///
    /// # Errors
    /// If their number is odd.
    pub fn new(sequences: Sequences) -> Result<Self> {
        if sequences.len() % 2 == 1 {
            let expected = sequences.len() + 1;
            return Err(Error::Size {
                what: "responses of pairs",
                expected,
                got: expected - 1,
            });
        }
        Ok(Self { sequences })
    }

    /// The responses, chosen and rejected alternating.
    #[must_use]
    pub fn sequences(&self) -> &Sequences {
        &self.sequences
    }

    /// The number of pairs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sequences.len() / 2
    }

    /// Whether there are no pairs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.sequences.is_empty()
    }

    /// The pairs of these indices, in this order.
    #[must_use]
    pub fn select(&self, pairs: &[usize]) -> Self {
        Self {
            sequences: self.sequences.select(&response_indices(pairs)),
        }
    }
}

/// The response indices of pairs.
fn response_indices(pairs: &[usize]) -> Vec<usize> {
    pairs
        .iter()
        .flat_map(|pair| [2 * pair, 2 * pair + 1])
        .collect()
}

/// Pairs with precomputed log-probs of the prior; made by
/// [`KlPenalty::with_prior`](crate::KlPenalty::with_prior).
#[derive(Debug, Clone)]
pub struct PairsWithPrior {
    /// The pairs.
    pub pairs: Pairs,
    /// log p₀(y|x) of each response, nats: [2 × pairs].
    pub prior_log_probs: PerSeq,
    /// β.
    pub beta: f64,
}

impl PairsWithPrior {
    /// The pairs of these indices, in this order.
    ///
    /// # Errors
    /// If the device fails.
    pub fn select(&self, pairs: &[usize]) -> Result<Self> {
        Ok(Self {
            pairs: self.pairs.select(pairs),
            prior_log_probs: self.prior_log_probs.select(&response_indices(pairs))?,
            beta: self.beta,
        })
    }
}
