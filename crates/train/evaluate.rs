//! A learner's statistics on data held out.

use crate::{Learner, Stats};
use rlhf_objective::{Network, Result, Want};

/// The statistics of `learner` on the whole of `batch` under `network`, which is left as it is.
/// The network reads at most `tokens` tokens at once; the result does not depend on how many, up
/// to rounding, because a loss is a sum whose weights come with the batch.
///
/// # Errors
/// If the network cannot read a sequence, or a tensor operation fails.
pub fn evaluate<L: Learner>(
    network: &mut dyn Network,
    learner: &L,
    batch: &L::Batch,
    tokens: usize,
) -> Result<Stats> {
    let mut stats = Stats::new();
    let ranges = learner
        .sequences(batch)
        .micro_batches(tokens, learner.group());
    for range in ranges {
        let part = learner.select(batch, &range.collect::<Vec<_>>())?;
        let outputs = network.read(learner.sequences(&part), Want::SCORE)?;
        stats.absorb(&learner.loss(&outputs, &part)?.stats);
    }
    Ok(stats)
}
