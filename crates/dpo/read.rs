//! What a network says of whole responses, as numbers.

use rlhf_objective::{Network, OutputSpec, Result, Sequences};

/// log π(y|x) of each response, nats: \[B\], reading at most `tokens` tokens at once.
pub(crate) fn log_probs(
    network: &mut dyn Network,
    sequences: &Sequences,
    tokens: usize,
) -> Result<Vec<f32>> {
    let mut sums = Vec::with_capacity(sequences.len());
    for range in sequences.micro_batches(tokens, 1) {
        let part = sequences.select(&range.collect::<Vec<_>>());
        let read = network.forward(&part, OutputSpec::SCORE)?;
        sums.extend(read.log_probs.sums()?.to_vec()?);
    }
    Ok(sums)
}
