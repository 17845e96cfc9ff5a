//! Log-probs of whole responses under a network.

use rlhf_objective::{Network, OutputSpec, Result, Sequences};

/// log π(y|x) of each response, nats: \[B\], in micro-batches of at most `tokens` tokens.
pub(crate) fn sequence_log_probs(
    network: &mut dyn Network,
    sequences: &Sequences,
    tokens: usize,
) -> Result<Vec<f32>> {
    let mut sums = Vec::with_capacity(sequences.len());
    for range in sequences.micro_batches(tokens, 1) {
        let part = sequences.select(&range.collect::<Vec<_>>());
        let outputs = network.forward(&part, OutputSpec::SCORE)?;
        sums.extend(outputs.log_probs.sums()?.to_vec()?);
    }
    Ok(sums)
}
