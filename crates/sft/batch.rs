//! Batches of demonstrations.

use rlhf_objective::{BatchSize, Dataset, Error, Result, Sequences};
use rlhf_train::{Epochs, Source};

/// Demonstrated responses, with the weight of each of their tokens in the loss.
#[derive(Debug, Clone)]
pub struct Batch {
    pub(crate) sequences: Sequences,
    pub(crate) weight: f64,
}

impl Batch {
    /// A full batch: each of its N response tokens has weight 1/N.
    ///
    /// # Errors
    /// If there are no responses.
    pub fn new(sequences: Sequences) -> Result<Self> {
        if sequences.is_empty() {
            return Err(Error::Empty("there are no demonstrations".into()));
        }
        Ok(Self {
            weight: 1.0 / sequences.tokens() as f64,
            sequences,
        })
    }

    /// Multiplies the weights by the batch's share of a full batch.
    fn scaled(self, share: f64) -> Self {
        Self {
            weight: self.weight * share,
            ..self
        }
    }
}

/// Yields all demonstrations in batches, shuffled by the seed in each epoch.
pub struct DemonstrationSource {
    all: Box<dyn Dataset>,
    epochs: Epochs,
}

impl DemonstrationSource {
    /// Batches of `batch_size` over `epochs` epochs of `all`, whose items are responses. Only the last
    /// batch of the run may be smaller: its loss is its share of a full batch times the mean over its
    /// tokens.
    ///
    /// # Errors
    /// If there are no items, or `batch_size` or `epochs` is zero.
    pub fn new(
        all: Box<dyn Dataset>,
        batch_size: BatchSize,
        epochs: usize,
        seed: u64,
    ) -> Result<Self> {
        if all.count() == 0 {
            return Err(Error::Empty("there are no demonstrations".into()));
        }
        if batch_size.limit() == 0 || epochs == 0 {
            let message = "train.batch_size and train.epochs must be at least 1 for sft";
            return Err(Error::Unsupported(message.into()));
        }
        let epochs = match batch_size {
            BatchSize::Items(size) => Epochs::new(&vec![1; all.count()], size, epochs, seed),
            BatchSize::Tokens(most) => Epochs::by_tokens(&*all, most, epochs, seed),
        };
        Ok(Self { all, epochs })
    }
}

impl Source for DemonstrationSource {
    type Batch = Batch;

    fn steps(&self) -> usize {
        self.epochs.steps()
    }

    fn batch(&mut self, step: usize) -> Result<Batch> {
        let batch = Batch::new(self.all.read(self.epochs.items(step))?)?;
        Ok(batch.scaled(self.epochs.share(step)))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Sft;
    use rlhf_objective::{Finish, Outputs, Prompt, Response};
    use rlhf_train::Learner;

    /// One response of each of these lengths, each with its own prompt of two tokens.
    pub(crate) fn sequences(lengths: &[usize]) -> Sequences {
        let prompts = lengths.iter().map(|_| Prompt::from_ids(vec![1, 2]));
        let response =
            |(prompt, &n): (usize, &usize)| Response::new(prompt, vec![3; n], Finish::Eos);
        let responses = lengths.iter().enumerate().map(response);
        Sequences::new(prompts.collect(), responses.collect()).unwrap()
    }

    #[test]
    fn batches_respect_the_batch_size() {
        let lengths = [5, 1, 9, 3, 3, 2];
        let all = sequences(&lengths);
        let mut by_count =
            DemonstrationSource::new(Box::new(all.clone()), BatchSize::Items(4), 2, 1).unwrap();
        let sizes: Vec<_> = (0..by_count.steps())
            .map(|step| by_count.batch(step).unwrap().sequences.len())
            .collect();
        assert_eq!(sizes, [4, 4, 4]);
        let mut by_tokens =
            DemonstrationSource::new(Box::new(all), BatchSize::Tokens(12), 1, 1).unwrap();
        let (mut tokens, mut items) = (0, 0);
        for step in 0..by_tokens.steps() {
            let batch = by_tokens.batch(step).unwrap();
            assert!(batch.sequences.network_tokens(0..batch.sequences.len()) <= 12);
            let share = by_tokens.epochs.share(step);
            assert_eq!(batch.weight, share / batch.sequences.tokens() as f64);
            tokens += batch.sequences.tokens();
            items += batch.sequences.len();
        }
        assert_eq!((tokens, items), (lengths.iter().sum(), 6));
    }

    #[test]
    fn a_smaller_last_batch_has_a_proportionally_smaller_gradient() {
        let all = Box::new(sequences(&[5, 1, 9, 3, 3]));
        let mut source = DemonstrationSource::new(all, BatchSize::Items(2), 1, 1).unwrap();
        assert_eq!(source.steps(), 3);
        for (step, share) in [1.0, 1.0, 0.5].into_iter().enumerate() {
            let batch = source.batch(step).unwrap();
            let tokens = batch.sequences.tokens();
            let log_probs: Vec<f32> = (0..tokens).map(|t| -0.5 - t as f32).collect();
            let mean = log_probs.iter().sum::<f32>() / tokens as f32;
            let outputs = Outputs::new(&batch.sequences, log_probs, None, None).unwrap();
            let loss = Sft.loss(&outputs, &batch).unwrap();
            let value = loss.value.to_scalar::<f32>().unwrap();
            assert!((value - -mean * share).abs() < 1e-6, "step {step}");
            let slope = -share / tokens as f32;
            let gradients = outputs.gradients(&loss.value).unwrap().log_probs.unwrap();
            assert!(gradients.iter().all(|g| (g - slope).abs() < 1e-7));
            // The reported loss is the mean over tokens, without the share of the batch.
            let reported = loss.stats.get("loss/nll").unwrap();
            assert!((reported - f64::from(-mean)).abs() < 1e-6);
        }
    }

    #[test]
    fn empty_data_and_zero_sizes_are_errors() {
        let source = |lengths: &[usize], batch_size, epochs| {
            DemonstrationSource::new(Box::new(sequences(lengths)), batch_size, epochs, 0)
        };
        assert!(source(&[], BatchSize::Items(1), 1).is_err());
        assert!(source(&[1], BatchSize::Tokens(0), 1).is_err());
        assert!(source(&[1], BatchSize::Tokens(1), 0).is_err());
    }
}
