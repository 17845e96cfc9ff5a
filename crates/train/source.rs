//! Where an offline run takes its batches from.

use rlhf_objective::Result;

/// The batches of an offline run. A batch depends on its step, the settings and the seed alone, so
/// a run can resume at any step.
pub trait Source {
    /// What a [`Learner`](crate::Learner) takes.
    type Batch;

    /// How many batches the run has.
    fn steps(&self) -> usize;

    /// The batch of a step, counted from 0.
    ///
    /// # Errors
    /// If it cannot be made.
    fn batch(&mut self, step: usize) -> Result<Self::Batch>;
}
