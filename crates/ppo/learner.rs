//! The PPO learner: the loss of a mini-batch, and the mini-batches of an iteration.

use crate::{Batch, Config, policy_losses, value_losses};
use rlhf_objective::{Error, KlPenalty, OutputSpec, Outputs, Result, Scored, Sequences};
use rlhf_tensor::{Rng, Tensor};
use rlhf_train::{Learner, Loss, Method, Passes, Role, Stats, minibatches};
use std::ops::ControlFlow;

/// Proximal policy optimization.
#[derive(Debug, Clone)]
pub struct Ppo {
    config: Config,
}

impl Ppo {
    /// Creates the learner from its settings.
    ///
    /// # Errors
    /// If a setting is out of its range.
    pub fn new(config: Config) -> Result<Self> {
        config.check()?;
        Ok(Self { config })
    }
}

impl Learner for Ppo {
    const ROLES: &'static [Role] = &[Role::Policy, Role::Critic];

    type Batch = Batch;

    fn sequences<'a>(&self, batch: &'a Batch) -> &'a Sequences {
        &batch.sequences
    }

    fn output_spec(&self) -> OutputSpec {
        if self.config.entropy_bonus.is_some() {
            OutputSpec::TRAIN.with_entropy()
        } else {
            OutputSpec::TRAIN
        }
    }

    fn select(&self, batch: &Batch, responses: &[usize]) -> Result<Batch> {
        batch.subset(responses)
    }

    fn loss(&self, outputs: &Outputs, batch: &Batch) -> Result<Loss> {
        let Some(values) = &outputs.values else {
            return Err(Error::Unsupported(
                "ppo needs values: add a critic to the policy".into(),
            ));
        };
        let log_ratios = (outputs.log_probs.values() - batch.old_log_probs.values())?;
        let ratios = log_ratios.exp()?;
        let policy = policy_losses(&ratios, batch.advantages.values(), self.config.clip)?;
        let (old, returns) = (batch.old_values.values(), batch.returns.values());
        let value = value_losses(values.values(), old, returns, self.config.clip_value)?;
        let mut losses = (&policy.losses + (&value.losses * self.config.value_weight)?)?;
        if let (Some(bonus), Some(entropy)) = (self.config.entropy_bonus, &outputs.entropy) {
            losses = (losses - (entropy.values() * bonus)?)?;
        }

        let mut stats = Stats::new();
        let tokens = batch.sequences.tokens() as f64;
        let mut mean = |name, per_token: &Tensor| -> Result<()> {
            stats.mean(name, sum(per_token)?, tokens);
            Ok(())
        };
        mean("loss", &losses)?;
        mean("loss/policy_avg", &policy.losses)?;
        mean("loss/value_avg", &value.losses)?;
        mean("policy/clipfrac_avg", &policy.clipped)?;
        mean("val/clipfrac_avg", &value.clipped)?;
        mean("policy/approxkl_avg", &(log_ratios.sqr()? * 0.5)?)?;
        mean("val/ratio", &ratios)?;
        if let Some(entropy) = &outputs.entropy {
            mean("policy/entropy_avg", entropy.values())?;
        }
        stats.max(
            "policy/ratio_max",
            f64::from(ratios.max(0)?.to_scalar::<f32>()?),
        );
        if let Some(explained) = batch.explained_variance {
            stats.mean("val/explained_variance", explained * tokens, tokens);
        }
        let value = (losses.sum_all()? * batch.weight)?;
        Ok(Loss { value, stats })
    }
}

/// The sum of a tensor of any dtype, in f64.
fn sum(tensor: &Tensor) -> Result<f64> {
    let tensor = tensor.to_dtype(rlhf_tensor::DType::F64)?;
    Ok(tensor.sum_all()?.to_scalar()?)
}

impl Method for Ppo {
    type State = ();

    fn batches(&mut self, scored: Scored, _: &mut KlPenalty, rng: Rng) -> Result<Vec<Batch>> {
        let batch = Batch::new(scored, &self.config)?;
        let responses = (0..batch.sequences.len()).collect();
        let passes = Passes {
            epochs: self.config.epochs,
            minibatches: self.config.minibatches,
        };
        minibatches(batch, responses, passes, rng, |batch, subset| {
            batch.minibatch(subset)
        })
    }

    fn after_step(&mut self, stats: &Stats) -> ControlFlow<()> {
        match (self.config.target_kl, stats.get("policy/approxkl_avg")) {
            (Some(target), Some(kl)) if kl > 1.5 * target => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }

    fn state(&self) {}

    fn load_state(&mut self, (): ()) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Advantages;
    use crate::testing::{penalty, scored_with_lengths};
    use rlhf_tensor::Stream;

    fn rng() -> Rng {
        Rng::new(1, Stream::Minibatch, 0, 0)
    }

    fn ppo(config: Config) -> Ppo {
        Ppo::new(config).unwrap()
    }

    const LENGTHS: [usize; 5] = [3, 1, 4, 2, 5];

    #[test]
    fn ratios_are_exactly_one_before_the_first_step() {
        let mut ppo = ppo(Config::default());
        let scored = scored_with_lengths(&LENGTHS);
        let log_probs = scored.rollouts.log_probs.to_vec().unwrap();
        let values = scored.rollouts.values.clone().unwrap().to_vec().unwrap();
        let id = scored.rollouts.sequences.id();
        let batches = ppo.batches(scored, &mut penalty(), rng()).unwrap();
        assert_eq!(batches.len(), 4);
        assert_eq!(batches[0].sequences.id(), id);
        let outputs = Outputs::new(&batches[0].sequences, log_probs, None, Some(values)).unwrap();
        let loss = ppo.loss(&outputs, &batches[0]).unwrap();
        let stat = |name| loss.stats.get(name).unwrap();
        assert_eq!((stat("val/ratio"), stat("policy/ratio_max")), (1.0, 1.0));
        assert_eq!(stat("policy/approxkl_avg"), 0.0);
        assert_eq!(stat("policy/clipfrac_avg") + stat("val/clipfrac_avg"), 0.0);
        // The advantages are whitened, so their mean is 0; each token's gradient is −A/N.
        assert!(stat("loss/policy_avg").abs() < 1e-6);
        let gradients = outputs.gradients(&loss.value).unwrap();
        let advantages = batches[0].advantages.to_vec().unwrap();
        for (g, a) in gradients.log_probs.unwrap().iter().zip(&advantages) {
            assert!((g + a / 15.0).abs() < 1e-7);
        }
        let square: f32 = advantages.iter().map(|a| a * a).sum();
        assert!((square - 14.0).abs() < 1e-4);
    }

    #[test]
    fn losses_and_gradients_of_micro_batches_sum_to_those_of_the_batch() {
        let ppo = ppo(Config::default());
        let scored = scored_with_lengths(&LENGTHS);
        let old = scored.rollouts.log_probs.to_vec().unwrap();
        let values = scored.rollouts.values.clone().unwrap().to_vec().unwrap();
        let perturbed = |values: &[f32], scale: f32| -> Vec<f32> {
            let wave = |(i, x): (usize, &f32)| x + scale * ((i * 5 % 7) as f32 - 3.0);
            values.iter().enumerate().map(wave).collect()
        };
        let (log_probs, values) = (perturbed(&old, 0.12), perturbed(&values, 0.1));
        let batch = Batch::new(scored, &ppo.config).unwrap();
        let loss_and_gradients = |responses: &[usize], tokens: std::ops::Range<usize>| {
            let part = ppo.select(&batch, responses).unwrap();
            let select = |values: &[f32]| values[tokens.clone()].to_vec();
            let values = Some(select(&values));
            let outputs = Outputs::new(&part.sequences, select(&log_probs), None, values);
            let outputs = outputs.unwrap();
            let loss = ppo.loss(&outputs, &part).unwrap();
            let gradients = outputs.gradients(&loss.value).unwrap();
            (loss, gradients)
        };
        let (whole, gradients) = loss_and_gradients(&[0, 1, 2, 3, 4], 0..15);
        assert!(whole.stats.get("policy/clipfrac_avg").unwrap() > 0.0);
        let (mut value, mut stats) = (0.0, Stats::new());
        let (mut policy_gradients, mut value_gradients) = (Vec::new(), Vec::new());
        for (responses, tokens) in [(&[0, 1][..], 0..4), (&[2], 4..8), (&[3, 4], 8..15)] {
            let (loss, gradients) = loss_and_gradients(responses, tokens);
            value += loss.value.to_scalar::<f32>().unwrap();
            stats.absorb(&loss.stats);
            policy_gradients.extend(gradients.log_probs.unwrap());
            value_gradients.extend(gradients.values.unwrap());
        }
        assert_eq!(gradients.log_probs.unwrap(), policy_gradients);
        assert_eq!(gradients.values.unwrap(), value_gradients);
        assert!((value - whole.value.to_scalar::<f32>().unwrap()).abs() < 1e-6);
        for (name, number) in whole.stats.iter() {
            assert!((stats.get(name).unwrap() - number).abs() < 1e-6, "{name}");
        }
        assert!((f64::from(value) - stats.get("loss").unwrap()).abs() < 1e-6);
    }

    #[test]
    fn minibatches_partition_the_rollouts_in_each_epoch() {
        let mut ppo = ppo(Config {
            minibatches: 2,
            epochs: 3,
            advantages: Advantages::Raw,
            ..Config::default()
        });
        let whole = Batch::new(scored_with_lengths(&LENGTHS), &ppo.config).unwrap();
        let batches = ppo
            .batches(scored_with_lengths(&LENGTHS), &mut penalty(), rng())
            .unwrap();
        assert_eq!(batches.len(), 6);
        let sorted = |parts: &[Batch]| {
            let numbers = parts.iter().flat_map(|b| b.advantages.to_vec().unwrap());
            let mut numbers: Vec<f32> = numbers.collect();
            numbers.sort_by(f32::total_cmp);
            numbers
        };
        for epoch in batches.chunks(2) {
            assert_eq!(sorted(epoch), sorted(std::slice::from_ref(&whole)));
            for batch in epoch {
                assert_eq!(batch.weight, 1.0 / batch.sequences.tokens() as f64);
            }
        }
        let again = ppo
            .batches(scored_with_lengths(&LENGTHS), &mut penalty(), rng())
            .unwrap();
        for (a, b) in batches.iter().zip(&again) {
            assert_eq!(a.returns.to_vec().unwrap(), b.returns.to_vec().unwrap());
        }
        ppo.config.minibatches = 9;
        let single = ppo.batches(scored_with_lengths(&LENGTHS), &mut penalty(), rng());
        assert_eq!(single.unwrap().len(), 15);
    }

    #[test]
    fn the_entropy_bonus_requests_entropies_and_subtracts_them_from_the_loss() {
        let plain = ppo(Config::default());
        let ppo = ppo(Config {
            entropy_bonus: Some(0.3),
            ..Config::default()
        });
        assert!(ppo.output_spec().entropy && !plain.output_spec().entropy);
        let batch = Batch::new(scored_with_lengths(&LENGTHS), &ppo.config).unwrap();
        let to_vec = |values: &rlhf_objective::PerToken| values.to_vec().unwrap();
        let log_probs = to_vec(&batch.old_log_probs);
        let values = Some(to_vec(&batch.old_values));
        let entropy = Some(vec![2.0; 15]);
        let outputs = Outputs::new(&batch.sequences, log_probs, entropy, values).unwrap();
        let evaluate = |ppo: &Ppo| {
            let loss = ppo.loss(&outputs, &batch).unwrap();
            assert!((loss.stats.get("policy/entropy_avg").unwrap() - 2.0).abs() < 1e-6);
            (
                loss.value.to_scalar::<f32>().unwrap(),
                outputs.gradients(&loss.value).unwrap(),
            )
        };
        let (with_bonus, gradients) = evaluate(&ppo);
        let (without, plain_gradients) = evaluate(&plain);
        assert!((without - with_bonus - 0.6).abs() < 1e-6);
        assert_eq!(gradients.log_probs, plain_gradients.log_probs);
        assert_eq!(plain_gradients.entropy, None);
        for slope in gradients.entropy.unwrap() {
            assert!((slope + 0.02).abs() < 1e-8);
        }
    }

    #[test]
    fn rollouts_without_values_are_an_error() {
        let mut without = scored_with_lengths(&LENGTHS);
        without.rollouts.values = None;
        let error = ppo(Config::default()).batches(without, &mut penalty(), rng());
        assert!(error.unwrap_err().to_string().contains("critic"));
        assert!(Batch::new(scored_with_lengths(&[]), &Config::default()).is_err());
    }

    #[test]
    fn iteration_stops_above_one_and_a_half_times_target_kl() {
        let mut stats = Stats::new();
        stats.mean("policy/approxkl_avg", 0.16, 1.0);
        let stops = |target_kl| {
            let mut ppo = ppo(Config {
                target_kl,
                ..Config::default()
            });
            ppo.after_step(&stats).is_break()
        };
        assert_eq!(
            [stops(None), stops(Some(0.11)), stops(Some(0.1))],
            [false, false, true]
        );
    }
}
