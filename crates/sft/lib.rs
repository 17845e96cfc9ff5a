//! Supervised fine-tuning: fits a network to demonstrations by maximum likelihood. It trains the
//! checkpoint that other methods start from, and the frozen network of the `demonstrations` prior.

#![forbid(unsafe_code)]

mod batch;
mod learner;
mod spec;

pub use batch::{Batch, DemonstrationSource};
pub use learner::Sft;
pub use rlhf_objective::BatchSize;
pub use spec::SftSpec;
