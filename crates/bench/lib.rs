//! Measures the speed of sampling, scoring and training, for `rlhf bench`.
//!
//! [`measure`] runs a [`Workload`] on a network of a [`Size`] with random weights, or on a checkpoint. It
//! returns seconds, tokens per second, and the fraction of the machine's peak, which is the speed of large
//! matrix products in the same process.

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

/// Starts the thread pool, once per process; 0 threads uses as many as there are cores.
///
/// # Errors
/// If the threads cannot be started.
pub fn start_threads(threads: usize) -> Result<()> {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build_global().context("cannot start the threads")
}
