//! The policy gradient, one step a rollout.

use crate::baseline::sum;
use crate::groups::compared;
use crate::{Baseline, KlPlacement, MovingMean, group_normalized, leave_one_out};
use rlhf_objective::{
    Error, KlPenalty, LocalKl, OutputSpec, Outputs, PerSeq, PerToken, Result, Scored, Sequences,
};
use rlhf_tensor::Rng;
use rlhf_train::{Learner, Loss, Method, Stats};
use std::ops::ControlFlow;

/// −Σ A(y)·log π(y|x)/B over the B responses of a rollout, advantages A detached: minus the policy
/// gradient of the objective (Williams 1992), β·KL included. A rollout makes one optimizer step, so
/// the samples are always the policy's own, and no ratio is needed. With the KL in the loss
/// ([`KlPlacement::Loss`]) the advantages are of the score alone, and β·Σₜ of the penalty is added
/// for each response.
#[derive(Debug, Clone)]
pub struct PolicyGradient {
    baseline: Baseline,
    kl: KlPlacement,
    moving: MovingMean,
}

impl PolicyGradient {
    /// With this baseline, and the KL paid there.
    ///
    /// # Errors
    /// If the decay of a moving one is not in \[0, 1).
    pub fn new(baseline: Baseline, kl: KlPlacement) -> Result<Self> {
        if let Baseline::Moving { decay } = baseline {
            crate::MovingConfig { decay, kl }.check()?;
        }
        Ok(Self {
            baseline,
            kl,
            moving: MovingMean::default(),
        })
    }

    fn advantages(&mut self, scored: &Scored) -> Result<Vec<f64>> {
        let sequences = &scored.rollouts.sequences;
        if sequences.is_empty() {
            return Err(Error::Empty("there are no rollouts".into()));
        }
        let returns = match self.kl {
            KlPlacement::Reward => returns(scored)?,
            KlPlacement::Loss(_) => wide(scored.scores.to_vec()?),
        };
        let of_groups = |advantages: &dyn Fn(std::ops::Range<usize>) -> Vec<f64>| {
            Ok(compared(sequences)?
                .into_iter()
                .flat_map(advantages)
                .collect())
        };
        match self.baseline {
            Baseline::LeaveOneOut => of_groups(&|group| leave_one_out(&returns[group])),
            Baseline::Group => {
                let scores = wide(scored.scores.to_vec()?);
                let penalties: Vec<f64> = scores.iter().zip(&returns).map(|(r, f)| r - f).collect();
                of_groups(&|group| group_normalized(&scores[group.clone()], &penalties[group]))
            }
            Baseline::Moving { decay } => {
                let mean = returns.iter().sum::<f64>() / returns.len() as f64;
                let before = self.moving.0.unwrap_or(mean);
                self.moving = MovingMean(Some(decay * before + (1.0 - decay) * mean));
                Ok(returns.iter().map(|f| f - before).collect())
            }
        }
    }
}

/// f(y) = r − β·ℓ(y) of each response: the sum of its rewards.
fn returns(scored: &Scored) -> Result<Vec<f64>> {
    let rewards = wide(scored.rewards.to_vec()?);
    let sum = |y| rewards[scored.rewards.range(y)].iter().sum();
    Ok((0..scored.rewards.sequences()).map(sum).collect())
}

fn wide(numbers: Vec<f32>) -> Vec<f64> {
    numbers.into_iter().map(f64::from).collect()
}

/// Responses and how much better each was than its baseline.
#[derive(Debug, Clone)]
pub struct GradientBatch {
    pub(crate) sequences: Sequences,
    pub(crate) advantages: PerSeq,
    /// 1/B.
    pub(crate) weight: f64,
    /// What the loss pays for the KL.
    local: Option<Local>,
}

/// A penalty in the loss, what it needs of the prior, and its price.
#[derive(Debug, Clone)]
struct Local {
    kl: LocalKl,
    /// log p₀ of each token, nats.
    prior_log_probs: PerToken,
    beta: f64,
}

impl Local {
    /// Nothing where it costs nothing: then the prior may say what it likes.
    fn of(kl: KlPlacement, scored: &Scored) -> Option<Self> {
        match kl {
            KlPlacement::Loss(kl) if scored.beta > 0.0 => Some(Self {
                kl,
                prior_log_probs: scored.rollouts.prior_log_probs.clone(),
                beta: scored.beta,
            }),
            _ => None,
        }
    }

    fn select(&self, responses: &[usize]) -> Result<Self> {
        Ok(Self {
            prior_log_probs: self.prior_log_probs.select(responses)?,
            ..*self
        })
    }
}

impl Learner for PolicyGradient {
    type Batch = GradientBatch;

    fn sequences<'a>(&self, batch: &'a GradientBatch) -> &'a Sequences {
        &batch.sequences
    }

    fn output_spec(&self) -> OutputSpec {
        match self.kl {
            KlPlacement::Loss(LocalKl::LocalKl) => OutputSpec::TRAIN.with_entropy(),
            _ => OutputSpec::TRAIN,
        }
    }

    fn select(&self, batch: &GradientBatch, responses: &[usize]) -> Result<GradientBatch> {
        let local = batch.local.as_ref();
        Ok(GradientBatch {
            sequences: batch.sequences.select(responses),
            advantages: batch.advantages.select(responses)?,
            weight: batch.weight,
            local: local.map(|local| local.select(responses)).transpose()?,
        })
    }

    fn loss(&self, outputs: &Outputs, batch: &GradientBatch) -> Result<Loss> {
        let log_probs = outputs.log_probs.sums()?;
        let losses = (log_probs.values() * batch.advantages.values())?.neg()?;
        let responses = batch.sequences.len() as f64;
        let mut stats = Stats::new();
        stats.mean("loss", sum(&losses)?, responses);
        let sizes = batch.advantages.values().abs()?;
        stats.mean("policy/advantage_abs", sum(&sizes)?, responses);
        let mut value = losses.sum_all()?;
        if let Some(local) = &batch.local {
            let penalties = local.kl.penalties(outputs, &local.prior_log_probs)?;
            stats.mean("loss/local_kl", sum(&penalties)?, responses);
            value = (value + (penalties.sum_all()? * local.beta)?)?;
        }
        let value = (value * batch.weight)?;
        Ok(Loss { value, stats })
    }
}

impl Method for PolicyGradient {
    type State = MovingMean;

    fn batches(&mut self, scored: Scored, _: &mut KlPenalty, _: Rng) -> Result<Vec<GradientBatch>> {
        let advantages = self.advantages(&scored)?;
        let local = Local::of(self.kl, &scored);
        let sequences = scored.rollouts.sequences;
        let narrow = advantages.into_iter().map(|a| a as f32).collect();
        Ok(vec![GradientBatch {
            local,
            weight: 1.0 / sequences.len() as f64,
            advantages: PerSeq::from_vec(narrow)?,
            sequences,
        }])
    }

    fn min_responses_per_prompt(&self) -> usize {
        match self.baseline {
            Baseline::LeaveOneOut | Baseline::Group => 2,
            Baseline::Moving { .. } => 1,
        }
    }

    fn after_step(&mut self, _: &Stats) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn state(&self) -> MovingMean {
        self.moving
    }

    fn load_state(&mut self, state: MovingMean) {
        self.moving = state;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{penalty, rng, scored};

    fn batch(method: &mut PolicyGradient, lengths: &[&[usize]]) -> GradientBatch {
        let mut batches = method
            .batches(scored(lengths), &mut penalty(), rng())
            .unwrap();
        assert_eq!(batches.len(), 1);
        batches.remove(0)
    }

    fn method(baseline: Baseline) -> PolicyGradient {
        PolicyGradient::new(baseline, KlPlacement::Reward).unwrap()
    }

    const GROUPS: [&[usize]; 2] = [&[3, 1, 4], &[2, 5]];

    #[test]
    fn the_gradient_is_minus_the_advantage_of_the_response() {
        let mut method = method(Baseline::LeaveOneOut);
        let batch = batch(&mut method, &GROUPS);
        let advantages = batch.advantages.to_vec().unwrap();
        assert!(advantages[..3].iter().sum::<f32>().abs() < 1e-5);
        assert!((advantages[3] + advantages[4]).abs() < 1e-5);
        let outputs = Outputs::new(&batch.sequences, vec![-0.5; 15], None, None).unwrap();
        let loss = method.loss(&outputs, &batch).unwrap();
        let gradient = outputs.gradients(&loss.value).unwrap().log_probs.unwrap();
        for (y, advantage) in advantages.iter().enumerate() {
            for slope in &gradient[outputs.log_probs.range(y)] {
                assert!((slope + advantage / 5.0).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn parts_add_up_to_the_whole_and_groups_stay_together() {
        let mut method = method(Baseline::Group);
        let batch = batch(&mut method, &GROUPS);
        let parts = batch.sequences.micro_batches(1, method.group());
        assert_eq!(parts, [0..3, 3..5]);
        let value = |batch: &GradientBatch| {
            let numbers = vec![-0.5; batch.sequences.tokens()];
            let outputs = Outputs::new(&batch.sequences, numbers, None, None).unwrap();
            method
                .loss(&outputs, batch)
                .unwrap()
                .value
                .to_scalar::<f32>()
                .unwrap()
        };
        let part = |range: std::ops::Range<usize>| {
            value(&method.select(&batch, &range.collect::<Vec<_>>()).unwrap())
        };
        let total: f32 = parts.into_iter().map(part).sum();
        assert!((total - value(&batch)).abs() < 1e-6);
    }

    #[test]
    fn a_moving_baseline_moves_and_is_remembered() {
        let mut method = method(Baseline::Moving { decay: 0.75 });
        let numbers = |batch: GradientBatch| batch.advantages.to_vec().unwrap();
        let all: &[&[usize]] = &[&[3], &[1], &[4], &[2, 5]];
        let first = numbers(batch(&mut method, all));
        // The first baseline is the mean of the first rollout.
        assert!(first.iter().sum::<f32>().abs() < 1e-5);
        let mean = method.state().0.unwrap();
        let second = returns(&scored(&[&[4], &[4]])).unwrap();
        let advantages = numbers(batch(&mut method, &[&[4], &[4]]));
        for (f, a) in second.iter().zip(&advantages) {
            assert!((f - mean - f64::from(*a)).abs() < 1e-6);
        }
        let own = second.iter().sum::<f64>() / 2.0;
        let moved = method.state().0.unwrap();
        assert!((moved - 0.75 * mean - 0.25 * own).abs() < 1e-12);
        let mut resumed = self::method(Baseline::Moving { decay: 0.75 });
        resumed.load_state(method.state());
        let next = |method: &mut PolicyGradient| numbers(batch(method, all));
        assert_eq!(next(&mut resumed), next(&mut method));
    }

    #[test]
    fn one_response_has_nothing_to_be_compared_with() {
        for baseline in [Baseline::LeaveOneOut, Baseline::Group] {
            let error = method(baseline).batches(scored(&[&[2, 1], &[3]]), &mut penalty(), rng());
            let error = error.unwrap_err().to_string();
            assert!(error.contains("samples_per_prompt"), "{error}");
        }
        let empty = method(Baseline::Moving { decay: 0.5 });
        assert!(
            empty
                .clone()
                .batches(scored(&[]), &mut penalty(), rng())
                .is_err()
        );
        let decay = Baseline::Moving { decay: 1.0 };
        assert!(PolicyGradient::new(decay, KlPlacement::Reward).is_err());
    }
}
