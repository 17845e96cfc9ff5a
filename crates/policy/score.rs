//! The forward pass over samples, which makes rollouts.

use crate::Sampled;
use rlhf_objective::{Network, OutputSpec, PerToken, Prior, Result, Rollouts, exact_kl};

/// Runs the policy and the prior on sampled responses: log π_old, log p₀, values, entropies and exact KL.
/// Micro-batches have at most `tokens` network tokens, and `group` consecutive responses stay together.
/// An update with the same two numbers makes the same micro-batches, so that its first importance ratio is
/// exactly 1.
///
/// # Errors
/// If a forward pass fails.
pub fn score(
    policy: &mut dyn Network,
    prior: &mut dyn Prior,
    sampled: Sampled,
    tokens: usize,
    group: usize,
) -> Result<Rollouts> {
    let sequences = sampled.sequences;
    let (mut log_probs, mut entropy, mut values) = (vec![], vec![], vec![]);
    let (mut prior_log_probs, mut kl) = (vec![], vec![]);
    let micro_batches = sequences.sorted_micro_batches(tokens, group);
    // The first update runs the same forward pass with the same weights. If there is one micro-batch, a
    // network may keep its activations and skip that pass.
    let spec = if policy.is_trained() && micro_batches.len() == 1 {
        OutputSpec::TRAIN
    } else {
        OutputSpec::SCORE
    };
    for indices in &micro_batches {
        let part = sequences.select(indices);
        let outputs = policy.forward(&part, spec.with_entropy())?;
        log_probs.push(outputs.log_probs);
        entropy.extend(outputs.entropy);
        values.extend(outputs.values);
        let comparison = exact_kl(policy, prior, &part)?;
        prior_log_probs.push(comparison.prior_log_probs);
        kl.push(comparison.kl);
    }
    let order = positions(&micro_batches);
    let whole = |parts: &[PerToken]| PerToken::concat(parts)?.select(&order);
    let values = (!values.is_empty()).then(|| whole(&values));
    Ok(Rollouts {
        log_probs: whole(&log_probs)?,
        values: values.transpose()?,
        entropy: whole(&entropy)?,
        prior_log_probs: whole(&prior_log_probs)?,
        kl: whole(&kl)?,
        sampled_log_probs: sampled.log_probs,
        sequences,
    })
}

/// The position of each response in the concatenated micro-batches.
fn positions(micro_batches: &[Vec<usize>]) -> Vec<usize> {
    let order: Vec<usize> = micro_batches.iter().flatten().copied().collect();
    let mut positions = vec![0; order.len()];
    for (position, response) in order.into_iter().enumerate() {
        positions[response] = position;
    }
    positions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Bigram, sequences};
    use rlhf_objective::{Decoder, LogDist, Sequences};
    use rlhf_tensor::Storage;
    use std::ops::Range;

    struct Frozen(Bigram);

    impl Prior for Frozen {
        fn log_probs(&mut self, sequences: &Sequences) -> Result<PerToken> {
            Ok(self.0.forward(sequences, OutputSpec::SCORE)?.log_probs)
        }
        fn log_dist(&mut self, _: &Sequences, rows: Range<usize>) -> Result<LogDist<'_>> {
            self.0.log_dist(rows)
        }
        fn is_normalized(&self) -> bool {
            true
        }

        fn decoder(&mut self) -> Result<Box<dyn Decoder + '_>> {
            self.0.decoder()
        }
    }

    #[test]
    fn rollouts_do_not_depend_on_the_micro_batches() {
        let network = |seed| Bigram::random(5, Storage::Frozen, seed);
        let numbers = |tokens: usize| {
            let mut policy = network(1);
            let outputs = policy.forward(&sequences(), OutputSpec::SCORE).unwrap();
            let sampled = Sampled {
                sequences: sequences(),
                log_probs: outputs.log_probs,
            };
            let scored = score(&mut policy, &mut Frozen(network(2)), sampled, tokens, 1).unwrap();
            assert_eq!(
                scored.log_probs.to_vec().unwrap(),
                scored.sampled_log_probs.to_vec().unwrap()
            );
            let values = scored.values.unwrap();
            let all = [values, scored.entropy, scored.prior_log_probs, scored.kl];
            all.map(|part| part.to_vec().unwrap())
        };
        assert_eq!(sequences().sorted_micro_batches(1, 1).len(), 2);
        assert_eq!(numbers(1), numbers(100));
        assert_eq!(positions(&[vec![1, 3], vec![0], vec![2]]), [2, 0, 3, 1]);
    }
}
