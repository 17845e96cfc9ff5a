//! The types that a device works with.

use std::fmt::Debug;

/// The types of a device. They are apart from its operations so that operands can be defined before the
/// operations that take them.
pub trait DeviceTypes: Clone + Debug + Send + Sync + Sized + 'static {
    /// Floats in the device's memory; an empty buffer has none.
    type Buffer: Debug + Default + Send + Sync;
    /// Who attends to whom in a batch.
    type Segments: Debug + Send + Sync;
    /// What the backward pass of a normalization needs of each group that was normalized.
    type NormStats: Debug + Default + Send + Sync;
    /// A summary of each row of logits: log Σ exp(logit) and the entropy, nats.
    type RowSummaries: Debug + Default + Send + Sync;
    /// A matrix packed for products of few rows.
    type Packed: Debug + Default + Send + Sync;
    /// The keys and values of one sequence in every layer.
    type Cache: Debug + Clone + Send + Sync;
}
