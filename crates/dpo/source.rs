//! Pairs, batch by batch.

use crate::Batch;
use rlhf_objective::{Error, Result};
use rlhf_train::{Epochs, Source};

/// All pairs, batch by batch, in a seeded order for each pass.
#[derive(Debug, Clone)]
pub struct PairSource {
    all: Batch,
    epochs: Epochs,
}

impl PairSource {
    /// `epochs` passes over a whole batch in batches of `per_step` pairs.
    ///
    /// # Errors
    /// If `per_step` or `epochs` is zero.
    pub fn new(all: Batch, per_step: usize, epochs: usize, seed: u64) -> Result<Self> {
        if per_step == 0 || epochs == 0 {
            return Err(Error::Unsupported(
                "dpo needs at least 1 pair a step and 1 epoch".into(),
            ));
        }
        let epochs = Epochs::new(&vec![1; all.labels.len()], per_step, epochs, seed);
        Ok(Self { all, epochs })
    }
}

impl Source for PairSource {
    type Batch = Batch;

    fn steps(&self) -> usize {
        self.epochs.steps()
    }

    /// A pair weighs in its batch as among all pairs, times pairs over batch size, so that the
    /// gradients of the batches are that of the whole in expectation.
    fn batch(&mut self, step: usize) -> Result<Batch> {
        let items = self.epochs.items(step);
        let mut batch = self.all.part(items)?;
        let share = self.all.weights.len() as f64 / items.len() as f64;
        batch.weights.iter_mut().for_each(|weight| *weight *= share);
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::tests::{labelled, pairs};
    use serde_json::json;

    #[test]
    fn a_source_goes_through_all_pairs() {
        let lengths: Vec<_> = (1..=5).map(|n| (n, n + 1)).collect();
        let prior = (0..10).map(|x| -(x as f32)).collect();
        let all = Batch::new(pairs(&lengths, prior, 0.1)).unwrap();
        let mut source = PairSource::new(all, 2, 2, 3).unwrap();
        assert_eq!(source.steps(), 6);
        let mut seen = Vec::new();
        for step in 0..3 {
            let batch = source.batch(step).unwrap();
            let each = 1.0 / batch.weights.len() as f64;
            assert!(
                batch
                    .weights
                    .iter()
                    .all(|weight| (weight - each).abs() < 1e-15)
            );
            seen.extend(batch.pairs.prior_log_probs.to_vec().unwrap());
        }
        seen.sort_by(f32::total_cmp);
        assert_eq!(seen, (-9..=0).map(|x| x as f32).collect::<Vec<_>>());
    }

    #[test]
    fn a_pair_weighs_the_same_in_every_batch() {
        let fields = [json!({"weight": 4}), json!({}), json!({}), json!({})];
        let mut source = PairSource::new(labelled(&fields).unwrap(), 3, 1, 1).unwrap();
        let mut seen = 0.0;
        for step in 0..2 {
            let batch = source.batch(step).unwrap();
            seen += batch.weights.iter().sum::<f64>() * batch.weights.len() as f64 / 4.0;
        }
        assert!((seen - 1.0).abs() < 1e-15);
    }
}
