//! Supervised fine-tuning: fits a network to demonstrations by maximum likelihood. It makes the
//! checkpoint a run starts from, and the frozen network behind the `demonstrations` prior.

#![forbid(unsafe_code)]

mod batch;
mod config;
mod learner;

pub use batch::{Batch, DemonstrationSource};
pub use config::{Config, PerStep};
pub use learner::Sft;
