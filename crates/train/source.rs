//! The interface of the batches of an offline run.

use rlhf_objective::Result;

/// The batches of an offline run. A batch depends only on its step, the settings and the seed, so a run can
/// resume at any step.
pub trait Source {
    /// The batch type of the [`Learner`](crate::Learner).
    type Batch;

    /// The number of batches of the run.
    fn steps(&self) -> usize;

    /// The batch of a step, counted from 0.
    ///
    /// # Errors
    /// If it cannot be made.
    fn batch(&mut self, step: usize) -> Result<Self::Batch>;
}
