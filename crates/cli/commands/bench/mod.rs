//! `rlhf bench`: how fast this program is, here and now: seconds, tokens a second and the share of the
//! machine's peak.

mod growth;
mod machine;
mod operations;
mod size;
mod speed;
mod timed;
mod workloads;

use crate::args::BenchArgs;
use anyhow::{Context, Result};

pub(crate) fn run(args: &BenchArgs) -> Result<()> {
    let threads = rayon::ThreadPoolBuilder::new().num_threads(args.threads);
    threads.build_global().context("cannot start the threads")?;
    match &args.growth {
        Some(picture) => growth::run(args, picture),
        None => speed::run(args),
    }
}
