//! Supervised fine-tuning: fits a network to demonstrations by maximum likelihood. It makes the
//! checkpoint a run starts from, and the frozen network behind the `demonstrations` prior.

#![forbid(unsafe_code)]

mod batch;
mod learner;
mod spec;

pub use batch::{Batch, DemonstrationSource};
pub use learner::Sft;
pub use rlhf_objective::BatchSize;
pub use spec::SftSpec;
