//! How fast sampling, scoring and training are, here and now: what `rlhf bench` measures.
//!
//! A [`Workload`] is done on a network of a [`Size`] with random weights, or on a checkpoint, and
//! [`measure`] says seconds, tokens a second, and the share of what the machine's matrix products
//! reach in the same process.

#![forbid(unsafe_code)]

mod machine;
mod operations;
mod peak;
mod settings;
mod size;
mod speed;
mod timed;
mod workloads;

pub use machine::Machine;
pub use settings::{Settings, Shape, Workload};
pub use size::Size;
pub use speed::{Computed, Phase, Speed, Spread, measure};
pub use workloads::tokens;

use anyhow::{Context, Result};

/// Sets how many threads there are, once a process; 0 takes as many as there are cores.
///
/// # Errors
/// If they cannot be started.
pub fn start_threads(threads: usize) -> Result<()> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build_global().context("cannot start the threads")
}
