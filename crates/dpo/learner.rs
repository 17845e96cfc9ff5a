//! Computes the loss of a batch of preference pairs.

use crate::losses::matched_margins;
use crate::scoring::sequence_log_probs;
use crate::statistics::pair_stats;
use crate::{Batch, Config, Divergence, PairSide, Preference};
use rlhf_objective::{Error, Network, Outputs, Result, Sequences, tilt};
use rlhf_tensor::{Device, Tensor};
use rlhf_train::{Learner, Loss};

/// Direct preference optimization.
#[derive(Debug, Clone)]
pub struct Dpo {
    preference: Preference,
    divergence: Divergence,
}

impl Dpo {
    /// Creates the learner from its settings.
    ///
    /// # Errors
    /// If a setting is out of its range, or is not used by the loss.
    pub fn new(config: &Config) -> Result<Self> {
        Ok(Self {
            preference: config.preference()?,
            divergence: config.divergence(),
        })
    }

    /// The loss inputs of the first and of the second response of each pair.
    fn sides(&self, implicit: &Tensor, log_probs: &Tensor, batch: &Batch) -> Result<[PairSide; 2]> {
        let responses = batch.pairs.pairs.sequences().responses();
        let lengths = responses.iter().map(|y| y.ids.len() as f32).collect();
        let (implicit, log_probs) = (split(implicit)?, split(log_probs)?);
        let lengths = split(&tensor(lengths)?)?;
        let mut sides = [0, 1].map(|side| PairSide {
            implicit_rewards: implicit[side].clone(),
            log_probs: log_probs[side].clone(),
            lengths: lengths[side].clone(),
        });
        if let Preference::Aot { .. } = self.preference {
            let matched = batch
                .matched_prior_margins
                .clone()
                .ok_or_else(not_prepared)?;
            let margin = (&log_probs[0] - &log_probs[1])?;
            sides[0].implicit_rewards = tilt(&margin, &tensor(matched)?, batch.pairs.beta)?;
            sides[1].implicit_rewards = sides[0].implicit_rewards.zeros_like()?;
        }
        Ok(sides)
    }
}

fn not_prepared() -> Error {
    Error::Unsupported("aot needs the ranked margins of the batch: call `prepare` first".into())
}

/// Splits values of responses, [2 × pairs], into those of the first and second of each pair, \[pairs\].
fn split(per_response: &Tensor) -> Result<[Tensor; 2]> {
    let pairs = per_response.dims1()? / 2;
    let columns = per_response.reshape((pairs, 2))?;
    let column = |index| columns.narrow(1, index, 1)?.flatten_all();
    Ok([column(0)?, column(1)?])
}

fn tensor(values: Vec<f32>) -> Result<Tensor> {
    let length = values.len();
    Ok(Tensor::from_vec(values, length, &Device::Cpu)?)
}

impl Learner for Dpo {
    type Batch = Batch;

    fn sequences<'a>(&self, batch: &'a Batch) -> &'a Sequences {
        batch.pairs.pairs.sequences()
    }

    fn group(&self) -> usize {
        2
    }

    /// Matches the prior's margins by rank, which only AOT needs: its loss compares ranks in the whole
    /// batch, and is a sum over pairs once each pair has the prior's margin of its rank.
    fn prepare(
        &self,
        network: &mut dyn Network,
        batch: &Batch,
        tokens: usize,
    ) -> Result<Option<Batch>> {
        if !matches!(self.preference, Preference::Aot { .. }) {
            return Ok(None);
        }
        batch.check_hard_labels("aot")?;
        let log_probs = sequence_log_probs(network, self.sequences(batch), tokens)?;
        let margins = |log_probs: &[f32]| -> Vec<f32> {
            let pairs = log_probs.chunks_exact(2);
            pairs.map(|pair| pair[0] - pair[1]).collect()
        };
        let prior = margins(&batch.pairs.prior_log_probs.to_vec()?);
        Ok(Some(Batch {
            matched_prior_margins: Some(matched_margins(&margins(&log_probs), &prior)),
            ..batch.clone()
        }))
    }

    fn select(&self, batch: &Batch, responses: &[usize]) -> Result<Batch> {
        let pairs: Vec<usize> = responses.iter().step_by(2).map(|r| r / 2).collect();
        batch.subset(&pairs)
    }

    fn loss(&self, outputs: &Outputs, batch: &Batch) -> Result<Loss> {
        let log_probs = outputs.log_probs.sums()?;
        let log_probs = log_probs.values();
        let (prior, beta) = (batch.pairs.prior_log_probs.values(), batch.pairs.beta);
        let implicit = self.divergence.implicit_rewards(log_probs, prior, beta)?;
        let [first, second] = self.sides(&implicit, log_probs, batch)?;
        let losses = expectation(
            &batch.labels,
            || self.preference.losses(beta, &first, &second),
            || self.preference.losses(beta, &second, &first),
        )?;
        let weights = batch.weights.iter().map(|&weight| weight as f32).collect();
        let value = (&losses * tensor(weights)?)?.sum_all()?;
        let stats = pair_stats(&losses, &implicit, log_probs, batch)?;
        Ok(Loss { value, stats })
    }
}

/// The expected loss under the labels, \[pairs\]: label · `first_chosen` + (1 − label) ·
/// `second_chosen`. The second is computed only where a label is below 1.
fn expectation(
    labels: &[f32],
    first_chosen: impl FnOnce() -> Result<Tensor>,
    second_chosen: impl FnOnce() -> Result<Tensor>,
) -> Result<Tensor> {
    let losses = first_chosen()?;
    if labels.iter().all(|&label| label == 1.0) {
        return Ok(losses);
    }
    let complements = labels.iter().map(|label| 1.0 - label).collect();
    let losses = (losses * tensor(labels.to_vec())?)?;
    Ok((losses + (second_chosen()? * tensor(complements)?)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LossName;
    use crate::batch::tests::pairs;
    use rlhf_objective::{Finish, OutputGrads, Pairs, PairsWithPrior, PerSeq, Prompt, Response};
    use rlhf_policy::testing::Bigram;
    use rlhf_tensor::Storage;
    use rlhf_train::{Stats, evaluate};

    fn outputs(batch: &Batch, log_probs: &[f32]) -> Outputs {
        let sequences = batch.pairs.pairs.sequences();
        Outputs::new(sequences, log_probs.to_vec(), None, None).unwrap()
    }

    fn gradient(grads: OutputGrads) -> Vec<f32> {
        grads.log_probs.unwrap()
    }

    #[test]
    fn loss_is_log_2_where_the_policy_equals_the_prior() {
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
    fn statistics_match_hand_computed_values() {
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
    fn losses_and_gradients_of_micro_batches_sum_to_those_of_the_batch() {
        let config = Config {
            label_smoothing: 0.1,
            ..Config::default()
        };
        let dpo = Dpo::new(&config).unwrap();
        let lengths = [(2, 3), (1, 4), (5, 1), (2, 2), (3, 3)];
        let prior: Vec<f32> = (0..10).map(|i| -3.0 - (i % 4) as f32).collect();
        let labels = [1.0, 0.8, 0.5, 0.0, 0.3];
        let weights = [1.0, 2.0, 0.5, 3.0, 1.0];
        let batch = Batch::with_labels(pairs(&lengths, prior, 0.3), &labels, &weights).unwrap();
        let numbers: Vec<f32> = (0..26).map(|i| -0.1 - (i * 7 % 11) as f32 / 4.0).collect();
        let whole = outputs(&batch, &numbers);
        let loss = dpo.loss(&whole, &batch).unwrap();
        let gradients = gradient(whole.gradients(&loss.value).unwrap());
        let (mut value, mut stats, mut start) = (0.0, Stats::new(), 0);
        for responses in [&[0, 1, 2, 3][..], &[4, 5], &[6, 7, 8, 9]] {
            let part = dpo.select(&batch, responses).unwrap();
            let tokens = dpo.sequences(&part).tokens();
            let outputs = outputs(&part, &numbers[start..start + tokens]);
            let loss = dpo.loss(&outputs, &part).unwrap();
            value += loss.value.to_scalar::<f32>().unwrap();
            stats.absorb(&loss.stats);
            let of_part = gradient(outputs.gradients(&loss.value).unwrap());
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

    /// The pair (i, j) with label P equals the pair (j, i) with label 1 − P, and equals the two hard
    /// pairs weighted by P and 1 − P.
    #[test]
    fn a_soft_label_gives_the_expectation_over_hard_labels() {
        let dpo = Dpo::new(&Config {
            label_smoothing: 0.1,
            ..Config::default()
        });
        let dpo = dpo.unwrap();
        let loss_of = |log_probs: &[f32], prior: Vec<f32>, labels: &[f64], weights: &[f64]| {
            let pairs = pairs(&vec![(1, 1); labels.len()], prior, 0.5);
            let batch = Batch::with_labels(pairs, labels, weights).unwrap();
            let outputs = outputs(&batch, log_probs);
            let loss = dpo.loss(&outputs, &batch).unwrap();
            let gradient = gradient(outputs.gradients(&loss.value).unwrap());
            (loss.value.to_scalar::<f32>().unwrap(), gradient, loss.stats)
        };
        let (soft, slope, stats) = loss_of(&[-1., -5.], vec![-3., -4.], &[0.75], &[1.0]);
        let (exchanged, _, same) = loss_of(&[-5., -1.], vec![-4., -3.], &[0.25], &[1.0]);
        let (hard, slopes, all) = loss_of(
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

    /// AOT's loss does not depend on the order of the batch or on the micro-batches; a batch without
    /// ranks, and soft labels, are errors.
    #[test]
    fn aot_depends_on_the_batch_and_not_on_its_order() {
        let aot = Dpo::new(&Config {
            loss: LossName::Aot,
            label_smoothing: 0.1,
            ..Config::default()
        });
        let aot = aot.unwrap();
        let mut network = Bigram::random(5, Storage::Frozen, 7);
        let prompts = (1..=4).map(|n| Prompt::from_ids(vec![n])).collect();
        let response = |i: usize| {
            let ids = (0..i % 3 + 1).map(|t| (i * 3 + t * t) as u32 % 5).collect();
            Response::new(i / 2, ids, Finish::Length)
        };
        let sequences = Sequences::new(prompts, (0..8).map(response).collect()).unwrap();
        let batch = |order: &[usize]| {
            let pairs = PairsWithPrior {
                pairs: Pairs::new(sequences.clone()).unwrap(),
                prior_log_probs: PerSeq::from_vec(vec![-3., -4., -1., -9., -2., -1., -5., -5.5])
                    .unwrap(),
                beta: 0.5,
            };
            Batch::new(pairs.select(order).unwrap()).unwrap()
        };
        let mut losses = [&[0, 1, 2, 3], &[2, 0, 3, 1]].map(|order| {
            let [small, whole] = [1, 1000].map(|tokens| {
                let stats = evaluate(&mut network, &aot, &batch(order), tokens).unwrap();
                stats.get("loss").unwrap()
            });
            assert!((small - whole).abs() < 1e-6);
            whole
        });
        assert!((losses[0] - losses[1]).abs() < 1e-6);
        // Ranks in half the batch are different.
        losses[1] = evaluate(&mut network, &aot, &batch(&[0, 1]), 1000)
            .unwrap()
            .get("loss")
            .unwrap();
        assert!((losses[0] - losses[1]).abs() > 1e-3);
        let unprepared = network
            .forward(&sequences, rlhf_objective::OutputSpec::SCORE)
            .unwrap();
        let error = aot.loss(&unprepared, &batch(&[0, 1, 2, 3])).unwrap_err();
        assert!(error.to_string().contains("prepare"), "{error}");
        let mut soft = batch(&[0, 1]);
        soft.labels[1] = 0.5;
        let error = evaluate(&mut network, &aot, &soft, 1000).unwrap_err();
        assert!(error.to_string().contains("by rank"), "{error}");
    }
}
