//! The loss of a batch of pairs.

use crate::{Batch, Config, Preference};
use rlhf_objective::{Outputs, Result, Sequences, tilt};
use rlhf_tensor::{Device, Tensor};
use rlhf_train::{Learner, Loss, Stats};
use std::cmp::Ordering;

/// Direct preference optimization.
#[derive(Debug, Clone)]
pub struct Dpo {
    preference: Preference,
}

impl Dpo {
    /// With these settings.
    ///
    /// # Errors
    /// If a setting is out of its range.
    pub fn new(config: &Config) -> Result<Self> {
        Ok(Self {
            preference: config.preference()?,
        })
    }
}

/// First and second of a value a response, [2 × pairs] → \[pairs\] each.
fn split(per_response: &Tensor) -> Result<(Tensor, Tensor)> {
    let pairs = per_response.dims1()? / 2;
    let columns = per_response.reshape((pairs, 2))?;
    let column = |index| columns.narrow(1, index, 1)?.flatten_all();
    Ok((column(0)?, column(1)?))
}

impl Learner for Dpo {
    type Batch = Batch;

    fn sequences<'a>(&self, batch: &'a Batch) -> &'a Sequences {
        batch.pairs.pairs.sequences()
    }

    fn group(&self) -> usize {
        2
    }

    fn select(&self, batch: &Batch, responses: &[usize]) -> Result<Batch> {
        let pairs: Vec<usize> = responses.iter().step_by(2).map(|r| r / 2).collect();
        batch.part(&pairs)
    }

    fn loss(&self, outputs: &Outputs, batch: &Batch) -> Result<Loss> {
        let log_probs = outputs.log_probs.sums()?;
        let prior = batch.pairs.prior_log_probs.values();
        let implicit = tilt(log_probs.values(), prior, batch.pairs.beta)?;
        let (first, second) = split(&implicit)?;
        let losses = expected(&batch.labels, |swapped| match swapped {
            false => self.preference.losses(&first, &second),
            true => self.preference.losses(&second, &first),
        })?;
        let weights = batch.weights.iter().map(|&weight| weight as f32).collect();
        let value = (&losses * per_pair(weights)?)?.sum_all()?;
        let stats = statistics(&losses, &implicit, log_probs.values(), batch)?;
        Ok(Loss { value, stats })
    }
}

/// The expectation of a loss over its labels, \[pairs\]: the loss of the pair as it stands and,
/// where a label leaves a doubt, of the pair with its responses exchanged.
fn expected(labels: &[f32], mut losses: impl FnMut(bool) -> Result<Tensor>) -> Result<Tensor> {
    let stands = losses(false)?;
    if labels.iter().all(|&label| label == 1.0) {
        return Ok(stands);
    }
    let doubts = labels.iter().map(|label| 1.0 - label).collect();
    let labels = per_pair(labels.to_vec())?;
    Ok(((stands * labels)? + (losses(true)? * per_pair(doubts)?)?)?)
}

fn per_pair(numbers: Vec<f32>) -> Result<Tensor> {
    let pairs = numbers.len();
    Ok(Tensor::from_vec(numbers, pairs, &Device::Cpu)?)
}

/// Means over the pairs by their weights, and over their labels, of what is in `losses` \[pairs\],
/// `implicit` and `log_probs` [2 × pairs].
fn statistics(
    losses: &Tensor,
    implicit: &Tensor,
    log_probs: &Tensor,
    batch: &Batch,
) -> Result<Stats> {
    let losses = losses.to_vec1::<f32>()?;
    let implicit = implicit.to_vec1::<f32>()?;
    let log_probs = log_probs.to_vec1::<f32>()?;
    let total: f64 = batch.weights.iter().sum();
    let mut stats = Stats::new();
    let mut mean = |name, of: &dyn Fn(usize) -> f64| {
        let terms = batch.weights.iter().enumerate();
        let sum = terms.map(|(pair, weight)| weight * of(pair)).sum();
        stats.mean(name, sum, total);
    };
    let label = |pair: usize| f64::from(batch.labels[pair]);
    // The preferred response of a pair, in expectation, and the other one.
    let chosen = |of: &[f32], pair: usize| {
        let (first, second) = (f64::from(of[2 * pair]), f64::from(of[2 * pair + 1]));
        label(pair) * first + (1.0 - label(pair)) * second
    };
    let rejected = |of: &[f32], pair: usize| {
        f64::from(of[2 * pair]) + f64::from(of[2 * pair + 1]) - chosen(of, pair)
    };
    let margin = |pair: usize| chosen(&implicit, pair) - rejected(&implicit, pair);
    let right = |pair: usize| match implicit[2 * pair].partial_cmp(&implicit[2 * pair + 1]) {
        Some(Ordering::Greater) => label(pair),
        Some(Ordering::Less) => 1.0 - label(pair),
        _ => 0.0,
    };
    mean("loss", &|pair| f64::from(losses[pair]));
    mean("rewards/chosen", &|pair| chosen(&implicit, pair));
    mean("rewards/rejected", &|pair| rejected(&implicit, pair));
    mean("rewards/margins", &margin);
    mean("rewards/accuracies", &right);
    mean("log_probs/chosen", &|pair| chosen(&log_probs, pair));
    mean("log_probs/rejected", &|pair| rejected(&log_probs, pair));
    Ok(stats)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::tests::pairs;
    use rlhf_objective::OutputGrads;

    fn outputs(batch: &Batch, log_probs: &[f32]) -> Outputs {
        let sequences = batch.pairs.pairs.sequences();
        Outputs::new(sequences, log_probs.to_vec(), None, None).unwrap()
    }

    fn gradient(of: OutputGrads) -> Vec<f32> {
        of.log_probs.unwrap()
    }

    #[test]
    fn a_policy_equal_to_the_prior_loses_log_2() {
        let dpo = Dpo::new(&Config::default()).unwrap();
        let batch = Batch::new(pairs(&[(2, 1), (1, 1)], vec![-3., -4., -1., -9.], 0.1)).unwrap();
        let outputs = outputs(&batch, &[-1., -2., -4., -1., -9.]);
        let loss = dpo.loss(&outputs, &batch).unwrap();
        let value = loss.value.to_scalar::<f32>().unwrap();
        assert!((value - std::f32::consts::LN_2).abs() < 1e-7);
        let gradient = gradient(outputs.gradients(&loss.value).unwrap());
        assert_eq!(gradient, [-0.025, -0.025, 0.025, -0.025, 0.025]);
        assert_eq!(loss.stats.get("rewards/margins"), Some(0.0));
        assert_eq!(loss.stats.get("log_probs/chosen"), Some(-2.0));
        assert_eq!(loss.stats.get("log_probs/rejected"), Some(-6.5));
    }

    #[test]
    fn statistics_of_known_pairs() {
        let dpo = Dpo::new(&Config::default()).unwrap();
        let batch = Batch::new(pairs(&[(1, 1), (1, 1)], vec![-3., -4., -2., -2.], 0.5)).unwrap();
        let loss = dpo.loss(&outputs(&batch, &[-1., -5., -4., -1.]), &batch);
        let stats = loss.unwrap().stats;
        let close = |name, to: f64| assert!((stats.get(name).unwrap() - to).abs() < 1e-6, "{name}");
        close("rewards/chosen", 0.0);
        close("rewards/rejected", 0.0);
        close("rewards/margins", 0.0);
        close("rewards/accuracies", 0.5);
        // Margins ±1.5.
        close("loss", (1.0 + f64::exp(-1.5)).ln() + 0.75);
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        let config = Config {
            label_smoothing: 0.1,
            ..Config::default()
        };
        let dpo = Dpo::new(&config).unwrap();
        let lengths = [(2, 3), (1, 4), (5, 1), (2, 2), (3, 3)];
        let prior: Vec<f32> = (0..10).map(|i| -3.0 - (i % 4) as f32).collect();
        let labels = [1.0, 0.8, 0.5, 0.0, 0.3];
        let weights = [1.0, 2.0, 0.5, 3.0, 1.0];
        let batch = Batch::labelled(pairs(&lengths, prior, 0.3), &labels, &weights).unwrap();
        let numbers: Vec<f32> = (0..26).map(|i| -0.1 - (i * 7 % 11) as f32 / 4.0).collect();
        let whole = outputs(&batch, &numbers);
        let loss = dpo.loss(&whole, &batch).unwrap();
        let gradients = gradient(whole.gradients(&loss.value).unwrap());
        let (mut value, mut stats, mut start) = (0.0, Stats::new(), 0);
        for responses in [&[0, 1, 2, 3][..], &[4, 5], &[6, 7, 8, 9]] {
            let part = dpo.select(&batch, responses).unwrap();
            let tokens = dpo.sequences(&part).tokens();
            let read = outputs(&part, &numbers[start..start + tokens]);
            let loss = dpo.loss(&read, &part).unwrap();
            value += loss.value.to_scalar::<f32>().unwrap();
            stats.absorb(&loss.stats);
            let of_part = gradient(read.gradients(&loss.value).unwrap());
            for (a, b) in of_part.iter().zip(&gradients[start..]) {
                assert!((a - b).abs() < 1e-7);
            }
            start += tokens;
        }
        assert_eq!(start, numbers.len());
        assert!((value - loss.value.to_scalar::<f32>().unwrap()).abs() < 1e-6);
        for (name, number) in loss.stats.iter() {
            assert!((stats.get(name).unwrap() - number).abs() < 1e-6, "{name}");
        }
    }

    /// The pair (i, j) with label P and (j, i) with 1 − P are one and the same; hard pairs weighted
    /// by P and 1 − P are its expectation.
    #[test]
    fn a_soft_label_is_the_expectation_over_hard_ones() {
        let dpo = Dpo::new(&Config {
            label_smoothing: 0.1,
            ..Config::default()
        });
        let dpo = dpo.unwrap();
        let read = |log_probs: &[f32], prior: Vec<f32>, labels: &[f64], weights: &[f64]| {
            let pairs = pairs(&vec![(1, 1); labels.len()], prior, 0.5);
            let batch = Batch::labelled(pairs, labels, weights).unwrap();
            let outputs = outputs(&batch, log_probs);
            let loss = dpo.loss(&outputs, &batch).unwrap();
            let gradient = gradient(outputs.gradients(&loss.value).unwrap());
            (loss.value.to_scalar::<f32>().unwrap(), gradient, loss.stats)
        };
        let (soft, slope, stats) = read(&[-1., -5.], vec![-3., -4.], &[0.75], &[1.0]);
        let (exchanged, _, same) = read(&[-5., -1.], vec![-4., -3.], &[0.25], &[1.0]);
        let (hard, slopes, all) = read(
            &[-1., -5., -5., -1.],
            vec![-3., -4., -4., -3.],
            &[1.0, 1.0],
            &[3.0, 1.0],
        );
        assert!((soft - exchanged).abs() < 1e-6 && (soft - hard).abs() < 1e-6);
        assert!((slope[0] - slopes[0] - slopes[3]).abs() < 1e-6);
        assert!((slope[1] - slopes[1] - slopes[2]).abs() < 1e-6);
        for (name, number) in stats.iter() {
            assert!((same.get(name).unwrap() - number).abs() < 1e-6, "{name}");
            assert!((all.get(name).unwrap() - number).abs() < 1e-6, "{name}");
        }
        assert_eq!(stats.get("rewards/accuracies"), Some(0.75));
        // The chosen response is the first at ¾: β·(¾·2 − ¼·1).
        assert!((stats.get("rewards/chosen").unwrap() - 0.625).abs() < 1e-6);
    }
}
