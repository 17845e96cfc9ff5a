//! The supervised fine-tuning loss: cross-entropy on response tokens.

use crate::Batch;
use rlhf_objective::{Outputs, Result, Sequences};
use rlhf_train::{Learner, Loss, Stats};

/// Supervised fine-tuning: −Σ log π(yₜ | x, y₍<t₎)/N over the N response tokens of a batch, the
/// maximum-likelihood fit to demonstrations. Prompt tokens are inputs but not in the loss.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sft;

impl Learner for Sft {
    type Batch = Batch;

    fn sequences<'a>(&self, batch: &'a Batch) -> &'a Sequences {
        &batch.sequences
    }

    fn select(&self, batch: &Batch, responses: &[usize]) -> Result<Batch> {
        Ok(Batch {
            sequences: batch.sequences.select(responses),
            weight: batch.weight,
        })
    }

    /// The metric `loss/nll` is in nats per token; its exponential is the perplexity.
    fn loss(&self, outputs: &Outputs, batch: &Batch) -> Result<Loss> {
        let log_probs = outputs.log_probs.values();
        let value = (log_probs.sum_all()? * -batch.weight)?;
        let sum: f64 = log_probs.to_vec1::<f32>()?.into_iter().map(f64::from).sum();
        let mut stats = Stats::new();
        let tokens = batch.sequences.tokens() as f64;
        stats.mean("loss", -sum, tokens);
        stats.mean("loss/nll", -sum, tokens);
        Ok(Loss { value, stats })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::tests::sequences;

    #[test]
    fn loss_is_the_mean_over_tokens() {
        let batch = Batch::new(sequences(&[2, 1, 1])).unwrap();
        let numbers = vec![-1f32, -2., -4., -9.];
        let outputs = Outputs::new(&batch.sequences, numbers, None, None).unwrap();
        let loss = Sft.loss(&outputs, &batch).unwrap();
        assert_eq!(loss.value.to_scalar::<f32>().unwrap(), 4.0);
        assert_eq!(loss.stats.get("loss/nll"), Some(4.0));
        let gradients = outputs.gradients(&loss.value).unwrap();
        assert_eq!(gradients.log_probs.unwrap(), [-0.25; 4]);
        assert_eq!(gradients.values, None);
    }

    #[test]
    fn losses_of_micro_batches_sum_to_that_of_the_batch() {
        let batch = Batch::new(sequences(&[2, 1, 1])).unwrap();
        let (mut total, mut stats) = (0.0, Stats::new());
        for (responses, numbers) in [(vec![0], vec![-1f32, -2.]), (vec![1, 2], vec![-4., -9.])] {
            let part = Sft.select(&batch, &responses).unwrap();
            let outputs = Outputs::new(&part.sequences, numbers, None, None).unwrap();
            let loss = Sft.loss(&outputs, &part).unwrap();
            total += loss.value.to_scalar::<f32>().unwrap();
            stats.absorb(&loss.stats);
        }
        assert_eq!(total, 4.0);
        assert_eq!(stats.get("loss/nll"), Some(4.0));
    }
}
