//! KTO: the loss of unpaired responses, each labelled desirable or undesirable.

use crate::UnpairedPreferences;
use crate::losses::utility;
use crate::scoring::sequence_log_probs;
use crate::statistics::unpaired_stats;
use rlhf_objective::{Error, Network, Outputs, Result, Sequences, tilt};
use rlhf_tensor::{Device, Tensor};
use rlhf_train::{Learner, Loss};
use serde::{Deserialize, Serialize};

/// Settings of [`Kto`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KtoConfig {
    /// λ_D, the weight of desirable responses, at least 0.
    pub desirable_weight: f64,
    /// λ_U, the weight of undesirable responses, at least 0.
    pub undesirable_weight: f64,
}

impl Default for KtoConfig {
    fn default() -> Self {
        Self {
            desirable_weight: 1.0,
            undesirable_weight: 1.0,
        }
    }
}

impl KtoConfig {
    /// Checks the ranges of the settings.
    ///
    /// # Errors
    /// If a weight is negative or not finite, or both are 0; the message names it.
    pub fn check(&self) -> Result<()> {
        let Self {
            desirable_weight,
            undesirable_weight,
        } = *self;
        for (key, weight) in [
            ("desirable_weight", desirable_weight),
            ("undesirable_weight", undesirable_weight),
        ] {
            if !weight.is_finite() || weight < 0.0 {
                let message = format!("[method] {key} = {weight}: must be a number of at least 0");
                return Err(Error::Unsupported(message));
            }
        }
        if desirable_weight + undesirable_weight == 0.0 {
            let message = "[method] desirable_weight and undesirable_weight are both 0: set one of \
            them above 0";
            return Err(Error::Unsupported(message.into()));
        }
        Ok(())
    }
}

/// Kahneman–Tversky optimization (Ethayarajh et al. 2024, eq. 8): the mean over responses of
/// λ·[1 − σ(±(h − z₀))], with h the implicit reward of the response (+ for a desirable one) and
/// z₀ ≥ 0 the mean implicit reward of the mismatched sequences, detached. The loss saturates on both
/// sides; its optimum is not known to be π*.
#[derive(Debug, Clone, Copy)]
pub struct Kto {
    config: KtoConfig,
}

impl Kto {
    /// Creates the learner from its settings.
    ///
    /// # Errors
    /// If a setting is out of its range.
    pub fn new(config: &KtoConfig) -> Result<Self> {
        config.check()?;
        Ok(Self { config: *config })
    }
}

fn tensor(values: impl Iterator<Item = f32>) -> Result<Tensor> {
    let values: Vec<f32> = values.collect();
    let length = values.len();
    Ok(Tensor::from_vec(values, length, &Device::Cpu)?)
}

impl Learner for Kto {
    type Batch = UnpairedPreferences;

    fn sequences<'a>(&self, batch: &'a UnpairedPreferences) -> &'a Sequences {
        &batch.sequences
    }

    /// Computes the reference point z₀ of the whole batch.
    fn prepare(
        &self,
        network: &mut dyn Network,
        batch: &UnpairedPreferences,
        tokens: usize,
    ) -> Result<Option<UnpairedPreferences>> {
        let log_probs = sequence_log_probs(network, &batch.mismatched, tokens)?;
        let log_probs = tensor(log_probs.into_iter())?;
        let implicit = tilt(&log_probs, batch.mismatched_prior.values(), batch.beta)?;
        let implicit = implicit.to_vec1::<f32>()?;
        let sum: f64 = implicit.iter().map(|&x| f64::from(x)).sum();
        Ok(Some(UnpairedPreferences {
            reference_point: Some((sum / implicit.len() as f64).max(0.0)),
            ..batch.clone()
        }))
    }

    fn select(
        &self,
        batch: &UnpairedPreferences,
        responses: &[usize],
    ) -> Result<UnpairedPreferences> {
        batch.subset(responses)
    }

    fn loss(&self, outputs: &Outputs, batch: &UnpairedPreferences) -> Result<Loss> {
        let reference_point = batch.reference_point.ok_or_else(not_prepared)?;
        let log_probs = outputs.log_probs.sums()?;
        let prior = batch.prior_log_probs.values();
        let implicit = tilt(log_probs.values(), prior, batch.beta)?;
        let signs = batch
            .desirable
            .iter()
            .map(|&desirable| if desirable { 1.0 } else { -1.0 });
        let losses = utility(&implicit, &tensor(signs)?, reference_point)?;
        let weights = batch.desirable.iter().map(|&desirable| {
            if desirable {
                self.config.desirable_weight as f32
            } else {
                self.config.undesirable_weight as f32
            }
        });
        let losses = (losses * tensor(weights)?)?;
        let value = (losses.sum_all()? * batch.weight)?;
        let stats = unpaired_stats(&losses, &implicit, log_probs.values(), batch)?;
        Ok(Loss { value, stats })
    }
}

fn not_prepared() -> Error {
    Error::Unsupported("kto needs the reference point of the batch: call `prepare` first".into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::UnpairedSource;
    use rlhf_objective::{Beta, KlPenalty, LogDist, PerToken};
    use rlhf_policy::testing::{Bigram, sequences};
    use rlhf_tensor::Storage;
    use rlhf_train::{Source, evaluate};

    /// A prior that gives every token the log-prob −1.
    struct ConstantPrior;

    impl rlhf_objective::Prior for ConstantPrior {
        fn log_probs(&mut self, s: &Sequences) -> Result<PerToken> {
            PerToken::from_vec(vec![-1.0; s.tokens()], s.offsets())
        }
        fn log_dist(&mut self, _: &Sequences, _: std::ops::Range<usize>) -> Result<LogDist<'_>> {
            unreachable!()
        }
        fn is_normalized(&self) -> bool {
            false
        }

        fn decoder(&mut self) -> Result<Box<dyn rlhf_objective::Decoder + '_>> {
            unreachable!()
        }
    }

    fn batch_with_context(context: usize) -> UnpairedPreferences {
        let mut penalty = KlPenalty::new(Box::new(ConstantPrior), Beta::Fixed(0.5));
        UnpairedPreferences::new(
            sequences(),
            vec![true, false, true],
            &mut penalty,
            context,
            100,
        )
        .unwrap()
    }

    #[test]
    fn mismatched_responses_come_from_rows_with_another_prompt() {
        let batch = batch_with_context(64);
        let ids = |row: usize| batch.mismatched.responses()[row].ids.as_slice();
        // Rows 0 and 1 share a prompt.
        assert_eq!(
            (ids(0), ids(1)),
            ([4, 4, 1, 2].as_slice(), [4, 4, 1, 2].as_slice())
        );
        assert_eq!(ids(2), [3, 4, 1]);
        assert_eq!(batch.mismatched.prompt_of(2).ids, [3]);
        // A prompt of 2 tokens leaves 2 in a context of 3: the last token is not an input.
        assert_eq!(batch_with_context(3).mismatched.responses()[0].ids, [4, 4]);
        assert_eq!(batch.desirable_count(), 2);
    }

    /// The loss and z₀ by formula; micro-batches give the same.
    #[test]
    fn the_reference_point_does_not_depend_on_micro_batches() {
        let config = KtoConfig {
            desirable_weight: 0.5,
            undesirable_weight: 2.0,
        };
        let kto = Kto::new(&config).unwrap();
        let mut network = Bigram::random(5, Storage::Frozen, 3);
        let batch = batch_with_context(64);
        let sums =
            |network: &mut Bigram, s: &Sequences| sequence_log_probs(network, s, 100).unwrap();
        let implicit = |log_probs: Vec<f32>, s: &Sequences| -> Vec<f64> {
            let lengths = s.responses().iter().map(|y| y.ids.len() as f64);
            let each = log_probs.iter().zip(lengths);
            each.map(|(log_prob, n)| 0.5 * (f64::from(*log_prob) + n))
                .collect()
        };
        let mismatched = implicit(sums(&mut network, &batch.mismatched), &batch.mismatched);
        let own = implicit(sums(&mut network, &batch.sequences), &batch.sequences);
        let z0 = (mismatched.iter().sum::<f64>() / 3.0).max(0.0);
        let sigma = |x: f64| 1.0 / (1.0 + (-x).exp());
        let signs = [1.0, -1.0, 1.0];
        let weights = [0.5, 2.0, 0.5];
        let exact = (0..3).map(|i| weights[i] * (1.0 - sigma(signs[i] * (own[i] - z0))));
        let exact = exact.sum::<f64>() / 3.0;
        for tokens in [1, 1000] {
            let stats = evaluate(&mut network, &kto, &batch, tokens).unwrap();
            assert!(
                (stats.get("loss").unwrap() - exact).abs() < 1e-6,
                "{tokens}"
            );
            assert!((stats.get("reference_point").unwrap() - z0).abs() < 1e-6);
            assert!((stats.get("rewards/rejected").unwrap() - own[1]).abs() < 1e-5);
        }
        let outputs = network
            .forward(&batch.sequences, rlhf_objective::OutputSpec::SCORE)
            .unwrap();
        assert!(
            kto.loss(&outputs, &batch)
                .unwrap_err()
                .to_string()
                .contains("prepare")
        );
    }

    /// Three responses in batches of two: the single response of the last batch has weight 1/2.
    #[test]
    fn a_smaller_last_batch_has_a_proportionally_smaller_gradient() {
        let kto = Kto::new(&KtoConfig::default()).unwrap();
        let mut network = Bigram::random(5, Storage::Frozen, 3);
        let mut source = UnpairedSource::new(batch_with_context(64), 2, 1, 1).unwrap();
        assert_eq!(source.steps(), 2);
        for step in 0..2 {
            let batch = source.batch(step).unwrap();
            assert_eq!(batch.desirable.len(), 2 - step);
            let batch = kto.prepare(&mut network, &batch, 100).unwrap().unwrap();
            let spec = rlhf_objective::OutputSpec::TRAIN;
            let outputs = network.forward(&batch.sequences, spec).unwrap();
            let sums = outputs.log_probs.sums().unwrap().to_vec().unwrap();
            let loss = kto.loss(&outputs, &batch).unwrap();
            let gradients = outputs.gradients(&loss.value).unwrap().log_probs.unwrap();
            let (mut sum, z0) = (0.0, batch.reference_point.unwrap());
            for (row, response) in batch.sequences.responses().iter().enumerate() {
                let sign = if batch.desirable[row] { 1.0 } else { -1.0 };
                let h = 0.5 * (f64::from(sums[row]) + response.ids.len() as f64);
                let value = 1.0 / (1.0 + (-sign * (h - z0)).exp());
                sum += 1.0 - value;
                let slope = -sign * 0.5 * value * (1.0 - value) / 2.0;
                let got = f64::from(gradients[outputs.log_probs.range(row).start]);
                assert!((got - slope).abs() < 1e-7, "step {step}: {got} {slope}");
            }
            let value = f64::from(loss.value.to_scalar::<f32>().unwrap());
            assert!((value - sum / 2.0).abs() < 1e-6, "step {step}");
            // The reported loss is the mean over responses, without the share of the batch.
            let mean = sum / (2 - step) as f64;
            assert!((loss.stats.get("loss").unwrap() - mean).abs() < 1e-6);
        }
    }

    #[test]
    fn invalid_settings_are_errors_that_name_the_key() {
        let config = KtoConfig {
            desirable_weight: -1.0,
            ..KtoConfig::default()
        };
        assert!(
            config
                .check()
                .unwrap_err()
                .to_string()
                .contains("desirable_weight = -1")
        );
        let none = KtoConfig {
            desirable_weight: 0.0,
            undesirable_weight: 0.0,
        };
        assert!(Kto::new(&none).is_err());
        let mut penalty = KlPenalty::new(Box::new(ConstantPrior), Beta::Fixed(0.0));
        let zero_beta = UnpairedPreferences::new(sequences(), vec![true; 3], &mut penalty, 64, 100);
        assert!(zero_beta.unwrap_err().to_string().contains("beta = 0"));
        let single = sequences().select(&[0]);
        let too_few = UnpairedPreferences::new(single, vec![true], &mut penalty, 64, 100);
        assert!(
            too_few
                .unwrap_err()
                .to_string()
                .contains("1 rows: kto needs at least 2")
        );
    }
}
