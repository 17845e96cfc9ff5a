//! The loss of a mini-batch, and how a rollout is cut into them.

use crate::{Batch, Config, policy_losses, value_losses};
use rlhf_objective::{Error, KlPenalty, Outputs, Result, Scored, Sequences};
use rlhf_tensor::{Rng, Tensor};
use rlhf_train::{Learner, Loss, Method, Stats};
use std::ops::ControlFlow;

/// Proximal policy optimization.
#[derive(Debug, Clone)]
pub struct Ppo {
    config: Config,
}

impl Ppo {
    /// With these settings.
    ///
    /// # Errors
    /// If a setting is out of its range.
    pub fn new(config: Config) -> Result<Self> {
        config.check()?;
        Ok(Self { config })
    }
}

impl Learner for Ppo {
    type Batch = Batch;

    fn sequences<'a>(&self, batch: &'a Batch) -> &'a Sequences {
        &batch.sequences
    }

    fn select(&self, batch: &Batch, responses: &[usize]) -> Result<Batch> {
        batch.part(responses)
    }

    fn loss(&self, outputs: &Outputs, batch: &Batch) -> Result<Loss> {
        let Some(values) = &outputs.values else {
            return Err(Error::Unsupported(
                "ppo needs values: give the policy a critic".into(),
            ));
        };
        let log_ratios = (outputs.log_probs.values() - batch.old_log_probs.values())?;
        let ratios = log_ratios.exp()?;
        let policy = policy_losses(&ratios, batch.advantages.values(), self.config.clip)?;
        let (old, returns) = (batch.old_values.values(), batch.returns.values());
        let value = value_losses(values.values(), old, returns, self.config.clip_value)?;
        let losses = (&policy.losses + (&value.losses * self.config.value_weight)?)?;

        let mut stats = Stats::new();
        let tokens = batch.sequences.tokens() as f64;
        let mut mean = |name, of: &Tensor| -> Result<()> {
            stats.mean(name, sum(of)?, tokens);
            Ok(())
        };
        mean("loss", &losses)?;
        mean("loss/policy_avg", &policy.losses)?;
        mean("loss/value_avg", &value.losses)?;
        mean("policy/clipfrac_avg", &policy.clipped)?;
        mean("val/clipfrac_avg", &value.clipped)?;
        mean("policy/approxkl_avg", &(log_ratios.sqr()? * 0.5)?)?;
        mean("val/ratio", &ratios)?;
        stats.max(
            "policy/ratio_max",
            f64::from(ratios.max(0)?.to_scalar::<f32>()?),
        );
        if let Some(share) = batch.explained_variance {
            stats.mean("val/explained_variance", share * tokens, tokens);
        }
        let value = (losses.sum_all()? * batch.weight)?;
        Ok(Loss { value, stats })
    }
}

/// Σx of a tensor of numbers or of flags.
fn sum(of: &Tensor) -> Result<f64> {
    let numbers = of.to_dtype(rlhf_tensor::DType::F64)?;
    Ok(numbers.sum_all()?.to_scalar()?)
}

impl Method for Ppo {
    /// All epochs of a rollout. One mini-batch is the rollout in its own order, read as it was when
    /// it was scored, so that the first ratio is exactly 1; more are drawn anew each epoch.
    fn batches(&mut self, scored: Scored, _: &mut KlPenalty, mut rng: Rng) -> Result<Vec<Batch>> {
        let whole = Batch::new(scored, &self.config)?;
        let mut order: Vec<usize> = (0..whole.sequences.len()).collect();
        let cuts = self.config.minibatches.min(order.len());
        if cuts == 1 {
            return Ok(vec![whole; self.config.epochs]);
        }
        let mut batches = Vec::with_capacity(self.config.epochs * cuts);
        for _ in 0..self.config.epochs {
            rng.shuffle(&mut order);
            for cut in 0..cuts {
                let range = cut * order.len() / cuts..(cut + 1) * order.len() / cuts;
                batches.push(whole.minibatch(&order[range])?);
            }
        }
        Ok(batches)
    }

    fn after_step(&mut self, stats: &Stats) -> ControlFlow<()> {
        match (self.config.target_kl, stats.get("policy/approxkl_avg")) {
            (Some(target), Some(kl)) if kl > 1.5 * target => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }
}
