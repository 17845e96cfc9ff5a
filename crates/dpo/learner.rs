//! The loss of a batch of pairs.

use crate::{Batch, Config, Preference};
use rlhf_objective::{Outputs, Result, Sequences, tilt};
use rlhf_tensor::Tensor;
use rlhf_train::{Learner, Loss, Stats};

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

/// Chosen and rejected of a value a response, [2 × pairs] → \[pairs\] each.
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
        let (chosen, rejected) = split(&implicit)?;
        let losses = self.preference.losses(&chosen, &rejected)?;
        let value = (losses.sum_all()? * batch.weight)?;
        let stats = statistics(&losses, &implicit, log_probs.values())?;
        Ok(Loss { value, stats })
    }
}

/// Means over the pairs of what is in `losses` \[pairs\], `implicit` and `log_probs` [2 × pairs].
fn statistics(losses: &Tensor, implicit: &Tensor, log_probs: &Tensor) -> Result<Stats> {
    let losses = losses.to_vec1::<f32>()?;
    let implicit = implicit.to_vec1::<f32>()?;
    let log_probs = log_probs.to_vec1::<f32>()?;
    let pairs = losses.len() as f64;
    let mut stats = Stats::new();
    let mut mean = |name, numbers: &mut dyn Iterator<Item = f64>| {
        stats.mean(name, numbers.sum(), pairs);
    };
    let chosen = |of: &[f32]| -> Vec<f64> { of.iter().step_by(2).map(|&x| x.into()).collect() };
    let rejected = |of: &[f32]| chosen(&of[1..]);
    let (wins, losers) = (chosen(&implicit), rejected(&implicit));
    let margins = || wins.iter().zip(&losers).map(|(w, l)| w - l);
    mean("loss", &mut losses.iter().map(|&x| f64::from(x)));
    mean("rewards/chosen", &mut wins.iter().copied());
    mean("rewards/rejected", &mut losers.iter().copied());
    mean("rewards/margins", &mut margins());
    let right = |margin: f64| f64::from(u8::from(margin > 0.0));
    mean("rewards/accuracies", &mut margins().map(right));
    mean("log_probs/chosen", &mut chosen(&log_probs).into_iter());
    mean("log_probs/rejected", &mut rejected(&log_probs).into_iter());
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
        let batch = Batch::new(pairs(&lengths, prior, 0.3)).unwrap();
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
}
