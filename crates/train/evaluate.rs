//! Evaluates a learner's statistics on held-out data.

use crate::{Learner, Stats};
use rlhf_objective::{Network, OutputSpec, Purpose, Result};

/// The statistics of `learner` on the whole of `batch` under `network`, whose parameters do not change.
/// Micro-batches have at most `tokens` tokens. Up to rounding, the result does not depend on their size,
/// because a loss is a sum whose weights come with the batch.
///
/// # Errors
/// If a forward pass or a tensor operation fails.
pub fn evaluate<L: Learner>(
    network: &mut dyn Network,
    learner: &L,
    batch: &L::Batch,
    tokens: usize,
) -> Result<Stats> {
    let spec = OutputSpec {
        purpose: Purpose::Score,
        ..learner.output_spec()
    };
    let prepared = learner.prepare(network, batch, tokens)?;
    let batch = prepared.as_ref().unwrap_or(batch);
    let mut stats = Stats::new();
    let parts = learner
        .sequences(batch)
        .sorted_micro_batches(tokens, learner.group());
    for part in parts {
        let part = learner.select(batch, &part)?;
        let outputs = network.forward(learner.sequences(&part), spec)?;
        stats.absorb(&learner.loss(&outputs, &part)?.stats);
    }
    Ok(stats)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_world::{Likelihood, weighted};
    use rlhf_policy::testing::{Bigram, sequences};
    use rlhf_tensor::Storage;

    #[test]
    fn statistics_do_not_depend_on_the_micro_batches() {
        let mut network = Bigram::random(5, Storage::Frozen, 1);
        let weights = [1.0, -0.5, 2.0];
        let batch = weighted(sequences(), &weights);
        let log_probs = network
            .forward(&sequences(), OutputSpec::SCORE)
            .unwrap()
            .log_probs;
        let sums = log_probs.sums().unwrap().to_vec().unwrap();
        let exact = -f64::from((0..3).map(|i| weights[i] * sums[i]).sum::<f32>());
        for tokens in [1, 1000] {
            let stats = evaluate(&mut network, &Likelihood, &batch, tokens).unwrap();
            assert!((stats.get("loss").unwrap() - exact).abs() < 1e-5);
        }
    }
}
