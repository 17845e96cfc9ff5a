//! Pairs as batches.

use rlhf_objective::{Error, PairsWithPrior, Result};
use rlhf_train::{Epochs, Source};

/// Pairs with the weight each has in the loss.
#[derive(Debug, Clone)]
pub struct Batch {
    pub(crate) pairs: PairsWithPrior,
    pub(crate) weight: f64,
}

impl Batch {
    /// A whole batch: each pair weighs 1/pairs.
    ///
    /// # Errors
    /// If there is no pair, if β is not positive, or if the prior gives a response probability 0,
    /// for then there is no implicit reward.
    pub fn new(pairs: PairsWithPrior) -> Result<Self> {
        if pairs.pairs.is_empty() {
            return Err(Error::Empty("there are no preference pairs".into()));
        }
        if pairs.beta <= 0.0 || !pairs.beta.is_finite() {
            return Err(Error::Unsupported(format!(
                "beta = {}: dpo needs a positive beta, because its implicit reward is \
                 beta * log(policy / prior)",
                pairs.beta
            )));
        }
        let prior = pairs.prior_log_probs.to_vec()?;
        if let Some(sequence) = prior.iter().position(|x| !x.is_finite()) {
            return Err(Error::NotFinite {
                what: "the prior's log-probability",
                sequence,
                value: f64::from(prior[sequence]),
                fix: "drop the pair, or take a prior that can say it",
            });
        }
        Ok(Self {
            weight: 1.0 / pairs.pairs.len() as f64,
            pairs,
        })
    }

    /// The pairs.
    #[must_use]
    pub fn pairs(&self) -> &PairsWithPrior {
        &self.pairs
    }

    /// Some of the pairs, at the weight they have here.
    pub(crate) fn part(&self, pairs: &[usize]) -> Result<Self> {
        Ok(Self {
            pairs: self.pairs.select(pairs)?,
            weight: self.weight,
        })
    }
}

/// All pairs, batch by batch, in a seeded order for each pass.
#[derive(Debug, Clone)]
pub struct PairSource {
    all: Batch,
    epochs: Epochs,
}

impl PairSource {
    /// `epochs` passes in batches of `per_step` pairs.
    ///
    /// # Errors
    /// As [`Batch::new`], or if `per_step` or `epochs` is zero.
    pub fn new(pairs: PairsWithPrior, per_step: usize, epochs: usize, seed: u64) -> Result<Self> {
        if per_step == 0 || epochs == 0 {
            return Err(Error::Unsupported(
                "dpo needs at least 1 pair a step and 1 epoch".into(),
            ));
        }
        let epochs = Epochs::new(&vec![1; pairs.pairs.len()], per_step, epochs, seed);
        Ok(Self {
            all: Batch::new(pairs)?,
            epochs,
        })
    }
}

impl Source for PairSource {
    type Batch = Batch;

    fn steps(&self) -> usize {
        self.epochs.steps()
    }

    fn batch(&mut self, step: usize) -> Result<Batch> {
        Batch::new(self.all.pairs.select(self.epochs.items(step))?)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use rlhf_objective::{Finish, Pairs, PerSeq, Prompt, Response, Sequences};

    /// Pairs of responses of these lengths, each pair to its own prompt.
    pub(crate) fn pairs(lengths: &[(usize, usize)], prior: Vec<f32>, beta: f64) -> PairsWithPrior {
        let prompts = (1..=lengths.len()).map(|n| Prompt::from_ids(vec![1; n]));
        let answer = |prompt, n| Response::new(prompt, vec![2; n], Finish::Eos);
        let responses = lengths
            .iter()
            .enumerate()
            .flat_map(|(i, &(chosen, rejected))| [answer(i, chosen), answer(i, rejected)]);
        let sequences = Sequences::new(prompts.collect(), responses.collect()).unwrap();
        PairsWithPrior {
            pairs: Pairs::new(sequences).unwrap(),
            prior_log_probs: PerSeq::from_vec(prior).unwrap(),
            beta,
        }
    }

    #[test]
    fn refuses_what_has_no_implicit_reward() {
        let error = |prior: Vec<f32>, beta: f64| {
            let made = Batch::new(pairs(&[(1, 2)], prior, beta));
            made.unwrap_err().to_string()
        };
        assert!(error(vec![-1., -2.], 0.0).contains("beta = 0"));
        assert!(error(vec![-1., f32::NEG_INFINITY], 0.1).contains("sequence 1"));
        assert!(Batch::new(pairs(&[], vec![], 0.1)).is_err());
    }

    #[test]
    fn a_source_goes_through_all_pairs() {
        let lengths: Vec<_> = (1..=5).map(|n| (n, n + 1)).collect();
        let prior = (0..10).map(|x| -(x as f32)).collect();
        let mut source = PairSource::new(pairs(&lengths, prior, 0.1), 2, 2, 3).unwrap();
        assert_eq!(source.steps(), 6);
        let mut seen = Vec::new();
        for step in 0..3 {
            let batch = source.batch(step).unwrap();
            assert_eq!(batch.weight, 1.0 / batch.pairs.pairs.len() as f64);
            seen.extend(batch.pairs.prior_log_probs.to_vec().unwrap());
        }
        seen.sort_by(f32::total_cmp);
        assert_eq!(seen, (-9..=0).map(|x| x as f32).collect::<Vec<_>>());
    }
}
