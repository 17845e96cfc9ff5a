//! Policies on a tree: a distribution over tokens at every prefix.

use crate::tree::join_ids;
use crate::{Child, Error, Result, Tree, counting, soft_backup};

/// A distribution over the next token at every incomplete prefix of a tree: a policy or a prior.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    vocab: usize,
    log_dist: Vec<f64>,
}

impl Policy {
    /// A policy from one row of A weights per prefix, in the tree's order. Rows are normalized.
    ///
    /// # Errors
    /// If there is not one row per prefix, or a row has a negative weight or no positive one; the
    /// error names the prefix.
    pub fn from_weights(tree: &Tree, rows: &[Vec<f64>]) -> Result<Self> {
        if rows.len() != tree.prefixes().len() {
            let what = format!("{} for {} prefixes", rows.len(), tree.prefixes().len());
            return Err(Error::at("rows", what));
        }
        let mut log_dist = Vec::with_capacity(rows.len() * tree.vocab());
        for (row, prefix) in rows.iter().zip(tree.prefixes()) {
            let total: f64 = row.iter().sum();
            let invalid = row.len() != tree.vocab() || row.iter().any(|w| w.is_nan() || *w < 0.0);
            if invalid || !(total.is_finite() && total > 0.0) {
                let what = format!(
                    "must have {} weights, none negative and not all 0",
                    tree.vocab()
                );
                return Err(Error::at(format!("prefix \"{}\"", join_ids(prefix)), what));
            }
            log_dist.extend(row.iter().map(|weight| (weight / total).ln()));
        }
        Ok(Self {
            vocab: tree.vocab(),
            log_dist,
        })
    }

    /// A policy from normalized log-probs.
    pub(crate) fn from_log_dist(vocab: usize, log_dist: Vec<f64>) -> Self {
        Self { vocab, log_dist }
    }

    pub(crate) fn vocab(&self) -> usize {
        self.vocab
    }

    /// A policy as the softmax of logits, [prefixes × A].
    ///
    /// # Panics
    /// If the number of logits is not a multiple of `vocab`.
    #[must_use]
    pub fn from_logits(vocab: usize, logits: &[f64]) -> Self {
        assert_eq!(logits.len() % vocab, 0, "logits must be whole rows");
        let row = |row: &[f64]| soft_backup(row, &counting(vocab), 1.0).log_policy;
        Self {
            vocab,
            log_dist: logits.chunks(vocab).flat_map(row).collect(),
        }
    }

    /// The uniform distribution over tokens at every prefix.
    #[must_use]
    pub fn uniform(tree: &Tree) -> Self {
        let entries = tree.prefixes().len() * tree.vocab();
        Self {
            vocab: tree.vocab(),
            log_dist: vec![-(tree.vocab() as f64).ln(); entries],
        }
    }

    /// The counting measure: every token and every response has weight 1. It is not normalized; as a
    /// prior, −KL is the entropy.
    #[must_use]
    pub fn counting(tree: &Tree) -> Self {
        Self {
            vocab: tree.vocab(),
            log_dist: counting(tree.prefixes().len() * tree.vocab()),
        }
    }

    /// The weighted arithmetic mean (1 − w)·self + w·other of the token probabilities.
    ///
    /// # Panics
    /// If the two are not over the same tree.
    #[must_use]
    pub fn mix(&self, other: &Self, w: f64) -> Self {
        assert_eq!(
            self.log_dist.len(),
            other.log_dist.len(),
            "the policies must be over the same tree"
        );
        let mean = |(a, b): (&f64, &f64)| ((1.0 - w) * a.exp() + w * b.exp()).ln();
        Self {
            vocab: self.vocab,
            log_dist: self
                .log_dist
                .iter()
                .zip(&other.log_dist)
                .map(mean)
                .collect(),
        }
    }

    /// log π(·|prefix `node`), \[A\], nats.
    #[must_use]
    pub fn row(&self, node: usize) -> &[f64] {
        &self.log_dist[node * self.vocab..(node + 1) * self.vocab]
    }

    /// All rows, [prefixes × A], nats.
    #[must_use]
    pub fn log_dist(&self) -> &[f64] {
        &self.log_dist
    }

    /// log π(prefix) of each incomplete prefix and log π(y) of each response, nats.
    #[must_use]
    pub fn log_probs(&self, tree: &Tree) -> (Vec<f64>, Vec<f64>) {
        let mut prefixes = vec![0.0; tree.prefixes().len()];
        let mut responses = vec![0.0; tree.responses().len()];
        for node in 0..prefixes.len() {
            for (child, log_prob) in tree.children(node).iter().zip(self.row(node)) {
                let log_prob = prefixes[node] + log_prob;
                match *child {
                    Child::Prefix(next) => prefixes[next] = log_prob,
                    Child::Response(response) => responses[response] = log_prob,
                }
            }
        }
        (prefixes, responses)
    }
}
