//! The types that a device works with.

use std::fmt::Debug;

/// The types of a device. They are apart from its operations so that operands can be defined before the
/// operations that take them.
pub trait DeviceTypes: Clone + Debug + Send + Sync + Sized + 'static {
    /// Floats in the device's memory. The default is empty.
    type Buffer: Debug + Default + Send + Sync;
    /// Which rows of a batch attend to which.
    type Segments: Debug + Send + Sync;
    /// The statistics of each normalized group that the backward pass needs.
    type NormStats: Debug + Default + Send + Sync;
    /// A summary of each row of logits: log Σ exp(logit) and the entropy, nats.
    type RowSummaries: Debug + Default + Send + Sync;
    /// A matrix packed for products of few rows.
    type Packed: Debug + Default + Send + Sync;
    /// The keys and values of one sequence in every layer.
    type Cache: Debug + Clone + Send + Sync;
}
