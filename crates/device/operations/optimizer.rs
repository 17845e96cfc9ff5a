//! Steps of the optimizer.

use crate::{AdamWStep, DeviceTypes, Slice, Trained};

/// What is done with gradients.
pub trait Optimizer: DeviceTypes {
    /// Σx², accumulated in f64.
    fn sum_of_squares(&self, x: Slice<'_, Self>) -> f64;

    /// One step of AdamW over all `trained` parameters, clearing their gradients as it goes. `moments`
    /// are the first and the second, which lie as the gradients do.
    fn adamw_step(
        &self,
        step: AdamWStep<'_>,
        trained: &[Trained],
        weights: &mut Self::Buffer,
        gradients: &mut Self::Buffer,
        moments: [&mut Self::Buffer; 2],
    );
}
