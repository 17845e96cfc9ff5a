//! Iterates over preference pairs in batches.

use crate::Batch;
use rlhf_objective::{Error, Result};
use rlhf_train::{Epochs, Source};

/// Yields all pairs in batches, shuffled by the seed in each epoch.
#[derive(Debug, Clone)]
pub struct PairSource {
    all: Batch,
    epochs: Epochs,
}

impl PairSource {
    /// Batches of `batch_size` pairs over `epochs` epochs of `all`. Only the last batch of the run may
    /// be smaller; the weight of each of its pairs is that in a full batch.
    ///
    /// # Errors
    /// If `batch_size` or `epochs` is zero.
    pub fn new(all: Batch, batch_size: usize, epochs: usize, seed: u64) -> Result<Self> {
        if batch_size == 0 || epochs == 0 {
            return Err(Error::Unsupported(
                "train.batch_size and train.epochs must be at least 1 for dpo".into(),
            ));
        }
        let epochs = Epochs::new(&vec![1; all.labels.len()], batch_size, epochs, seed);
        Ok(Self { all, epochs })
    }
}

impl Source for PairSource {
    type Batch = Batch;

    fn steps(&self) -> usize {
        self.epochs.steps()
    }

    /// The weight of a pair in its batch is its weight among all pairs times the number of pairs
    /// over the batch size, so that the expected gradient of a batch is that of the whole dataset.
    fn batch(&mut self, step: usize) -> Result<Batch> {
        let items = self.epochs.items(step);
        let mut batch = self.all.subset(items)?;
        let share = self.epochs.share(step) * self.all.weights.len() as f64 / items.len() as f64;
        batch.weights.iter_mut().for_each(|weight| *weight *= share);
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::tests::{batch_with_fields, pairs};
    use rlhf_objective::Outputs;
    use rlhf_train::Learner;
    use serde_json::json;

    #[test]
    fn every_pair_is_seen_once_per_epoch() {
        let lengths: Vec<_> = (1..=5).map(|n| (n, n + 1)).collect();
        let prior = (0..10).map(|x| -(x as f32)).collect();
        let all = Batch::new(pairs(&lengths, prior, 0.1)).unwrap();
        let mut source = PairSource::new(all, 2, 2, 3).unwrap();
        let mut seen = Vec::new();
        let mut sizes = Vec::new();
        for step in 0..source.steps() {
            let batch = source.batch(step).unwrap();
            sizes.push(batch.weights.len());
            // 1/2, also for the single pair of the last batch.
            assert!(batch.weights.iter().all(|w| (w - 0.5).abs() < 1e-15));
            seen.extend(batch.pairs.prior_log_probs.to_vec().unwrap());
        }
        assert_eq!(sizes, [2, 2, 2, 2, 2]);
        seen.sort_by(f32::total_cmp);
        let twice = (-9..=0).flat_map(|x| [x as f32; 2]);
        assert_eq!(seen, twice.collect::<Vec<_>>());
    }

    /// Five pairs in batches of two: the gradient of the last step is half that of its one pair.
    #[test]
    fn a_smaller_last_batch_has_a_proportionally_smaller_gradient() {
        let lengths: Vec<_> = (1..=5).map(|n| (n, n + 1)).collect();
        let prior = (0..10).map(|x| -(x as f32)).collect();
        let all = Batch::new(pairs(&lengths, prior, 0.1)).unwrap();
        let mut source = PairSource::new(all, 2, 1, 3).unwrap();
        let dpo = crate::Dpo::new(&crate::Config::default()).unwrap();
        for (step, (size, share)) in [(2, 1.0), (2, 1.0), (1, 0.5)].into_iter().enumerate() {
            let batch = source.batch(step).unwrap();
            let sequences = batch.pairs.pairs.sequences();
            let numbers: Vec<f32> = (0..sequences.tokens()).map(|t| -0.1 * t as f32).collect();
            let outputs = Outputs::new(sequences, numbers, None, None).unwrap();
            let sums = outputs.log_probs.sums().unwrap().to_vec().unwrap();
            let prior = batch.pairs.prior_log_probs.to_vec().unwrap();
            let margins: Vec<f64> = (0..size)
                .map(|pair| {
                    let ratio = |y: usize| f64::from(sums[y]) - f64::from(prior[y]);
                    0.1 * (ratio(2 * pair) - ratio(2 * pair + 1))
                })
                .collect();
            let losses = margins.iter().map(|m| (1.0 + (-m).exp()).ln());
            let mean = losses.sum::<f64>() / size as f64;
            let loss = dpo.loss(&outputs, &batch).unwrap();
            let value = f64::from(loss.value.to_scalar::<f32>().unwrap());
            assert!((value - share * mean).abs() < 1e-6, "step {step}: {value}");
            let gradients = outputs.gradients(&loss.value).unwrap().log_probs.unwrap();
            for (pair, margin) in margins.iter().enumerate() {
                let slope = 0.1 / (1.0 + margin.exp()) / 2.0;
                let chosen = f64::from(gradients[outputs.log_probs.range(2 * pair).start]);
                assert!(
                    (chosen + slope).abs() < 1e-7,
                    "step {step}: {chosen} {slope}"
                );
            }
            // The reported loss is the mean over pairs, without the share of the batch.
            let reported = loss.stats.get("loss").unwrap();
            assert!(
                (reported - mean).abs() < 1e-6,
                "step {step}: {reported} {mean}"
            );
        }
    }

    #[test]
    fn the_weight_of_a_pair_does_not_depend_on_its_batch() {
        let fields = [json!({"weight": 4}), json!({}), json!({}), json!({})];
        let mut source = PairSource::new(batch_with_fields(&fields).unwrap(), 3, 1, 1).unwrap();
        let mut seen = Vec::new();
        for step in 0..2 {
            seen.extend(source.batch(step).unwrap().weights);
        }
        seen.sort_by(f64::total_cmp);
        let expected = [1.0, 1.0, 1.0, 4.0].map(|weight| weight / 7.0 * 4.0 / 3.0);
        for (weight, expected) in seen.into_iter().zip(expected) {
            assert!((weight - expected).abs() < 1e-15);
        }
    }
}
