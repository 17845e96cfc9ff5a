//! From samples to rollouts.

use crate::Sampled;
use rlhf_objective::{Network, OutputSpec, PerToken, Prior, Result, Rollouts, exact_kl};

/// One batched pass of the policy and the prior over what was drawn: log π_old, log p₀, values,
/// entropies and exact KL. At most `tokens` network tokens are read at once, and `group`
/// consecutive responses stay together: cut as an update with the same two numbers cuts them, so
/// that its first ratio is exactly 1.
///
/// # Errors
/// If a network cannot read a response.
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
    let parts = sequences.sorted_micro_batches(tokens, group);
    // The first update reads the same with the same weights: where one read holds everything, a
    // network that can answer it from what it kept need not run again.
    let spec = if policy.is_trained() && parts.len() == 1 {
        OutputSpec::TRAIN
    } else {
        OutputSpec::SCORE
    };
    for part in &parts {
        let part = sequences.select(part);
        let outputs = policy.forward(&part, spec.with_entropy())?;
        log_probs.push(outputs.log_probs);
        entropy.extend(outputs.entropy);
        values.extend(outputs.values);
        let against = exact_kl(policy, prior, &part)?;
        prior_log_probs.push(against.prior_log_probs);
        kl.push(against.kl);
    }
    let order = places(&parts);
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

/// Where each response is among the parts, one behind the other.
fn places(parts: &[Vec<usize>]) -> Vec<usize> {
    let read: Vec<usize> = parts.iter().flatten().copied().collect();
    let mut places = vec![0; read.len()];
    for (place, response) in read.into_iter().enumerate() {
        places[response] = place;
    }
    places
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
    fn what_is_read_in_parts_comes_back_in_order() {
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
        assert_eq!(places(&[vec![1, 3], vec![0], vec![2]]), [2, 0, 3, 1]);
    }
}
