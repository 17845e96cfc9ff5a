//! The optimizer.

use crate::{AdamWStep, DeviceTypes, Slice, Trained};

/// The optimizer's step, and the norm of gradients.
pub trait Optimizer: DeviceTypes {
    /// Σx², accumulated in f64.
    fn sum_of_squares(&self, x: Slice<'_, Self>) -> f64;

    /// One step of AdamW over all `trained` parameters, which also sets their gradients to zero. `moments` are
    /// the first and the second moments, laid out like the gradients.
    fn adamw_step(
        &self,
        step: AdamWStep<'_>,
        trained: &[Trained],
        weights: &mut Self::Buffer,
        gradients: &mut Self::Buffer,
        moments: [&mut Self::Buffer; 2],
    );
}
