//! The policy gradient, with one optimizer step per iteration.

use crate::baseline::sum;
use crate::groups::groups_of_at_least_two;
use crate::{Baseline, KlPlacement, MovingMean, group_normalized, leave_one_out};
use rlhf_objective::{
    Error, KlPenalty, LocalKl, OutputSpec, Outputs, PerSeq, PerToken, Result, Scored, Sequences,
};
use rlhf_tensor::Rng;
use rlhf_train::{Learner, Loss, Method, Stats};
use std::ops::ControlFlow;

/// The loss −Σ A(y)·log π(y|x)/B over the B responses of an iteration, with detached advantages A: its
/// gradient is minus the policy gradient of the objective (Williams 1992), including β·KL. There is
/// one optimizer step per iteration, so the samples are on-policy and need no importance ratios. With
/// the KL in the loss ([`KlPlacement::Loss`]) the advantages are computed from the scores alone, and
/// β·Σₜ of the per-token penalty is added for each response.
#[derive(Debug, Clone)]
pub struct PolicyGradient {
    baseline: Baseline,
    kl: KlPlacement,
    moving: MovingMean,
}

impl PolicyGradient {
    /// Creates the method with this baseline and this placement of the KL.
    ///
    /// # Errors
    /// If the decay of a moving baseline is not in \[0, 1).
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
            KlPlacement::Loss(_) => to_f64(scored.scores.to_vec()?),
        };
        let by_group = |advantages: &dyn Fn(std::ops::Range<usize>) -> Vec<f64>| {
            Ok(groups_of_at_least_two(sequences)?
                .into_iter()
                .flat_map(advantages)
                .collect())
        };
        match self.baseline {
            Baseline::LeaveOneOut => by_group(&|group| leave_one_out(&returns[group])),
            Baseline::Group => {
                let scores = to_f64(scored.scores.to_vec()?);
                let penalties: Vec<f64> = scores.iter().zip(&returns).map(|(r, f)| r - f).collect();
                by_group(&|group| group_normalized(&scores[group.clone()], &penalties[group]))
            }
            Baseline::Moving { decay } => {
                let mean = returns.iter().sum::<f64>() / returns.len() as f64;
                let baseline = self.moving.0.unwrap_or(mean);
                self.moving = MovingMean(Some(decay * baseline + (1.0 - decay) * mean));
                Ok(returns.iter().map(|f| f - baseline).collect())
            }
        }
    }
}

/// f(y) = r − β·ℓ(y) of each response: the sum of its rewards.
fn returns(scored: &Scored) -> Result<Vec<f64>> {
    let rewards = to_f64(scored.rewards.to_vec()?);
    let sum = |y| rewards[scored.rewards.range(y)].iter().sum();
    Ok((0..scored.rewards.sequences()).map(sum).collect())
}

fn to_f64(values: Vec<f32>) -> Vec<f64> {
    values.into_iter().map(f64::from).collect()
}

/// Responses with their advantages.
#[derive(Debug, Clone)]
pub struct GradientBatch {
    pub(crate) sequences: Sequences,
    pub(crate) advantages: PerSeq,
    /// 1/B.
    pub(crate) weight: f64,
    /// The KL penalty in the loss, if there is one.
    penalty: Option<TokenKlPenalty>,
}

/// A per-token KL penalty in the loss.
#[derive(Debug, Clone)]
struct TokenKlPenalty {
    kl: LocalKl,
    /// log p₀ of each token, nats.
    prior_log_probs: PerToken,
    beta: f64,
}

impl TokenKlPenalty {
    /// None at β = 0, where prior log-probs may be −∞.
    fn new(kl: KlPlacement, scored: &Scored) -> Option<Self> {
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
        let penalty = batch.penalty.as_ref();
        Ok(GradientBatch {
            sequences: batch.sequences.select(responses),
            advantages: batch.advantages.select(responses)?,
            weight: batch.weight,
            penalty: penalty
                .map(|penalty| penalty.select(responses))
                .transpose()?,
        })
    }

    fn loss(&self, outputs: &Outputs, batch: &GradientBatch) -> Result<Loss> {
        let log_probs = outputs.log_probs.sums()?;
        let losses = (log_probs.values() * batch.advantages.values())?.neg()?;
        let responses = batch.sequences.len() as f64;
        let mut stats = Stats::new();
        stats.mean("loss", sum(&losses)?, responses);
        let magnitudes = batch.advantages.values().abs()?;
        stats.mean("policy/advantage_abs", sum(&magnitudes)?, responses);
        let mut value = losses.sum_all()?;
        if let Some(penalty) = &batch.penalty {
            let token_kl = penalty.kl.penalties(outputs, &penalty.prior_log_probs)?;
            stats.mean("loss/local_kl", sum(&token_kl)?, responses);
            value = (value + (token_kl.sum_all()? * penalty.beta)?)?;
        }
        let value = (value * batch.weight)?;
        Ok(Loss { value, stats })
    }
}

impl Method for PolicyGradient {
    type State = MovingMean;

    fn batches(&mut self, scored: Scored, _: &mut KlPenalty, _: Rng) -> Result<Vec<GradientBatch>> {
        let advantages = self.advantages(&scored)?;
        let penalty = TokenKlPenalty::new(self.kl, &scored);
        let sequences = scored.rollouts.sequences;
        let advantages = advantages.into_iter().map(|a| a as f32).collect();
        Ok(vec![GradientBatch {
            penalty,
            weight: 1.0 / sequences.len() as f64,
            advantages: PerSeq::from_vec(advantages)?,
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
    use crate::testing::{penalty, rng, scored_with_lengths};

    fn batch(method: &mut PolicyGradient, lengths: &[&[usize]]) -> GradientBatch {
        let mut batches = method
            .batches(scored_with_lengths(lengths), &mut penalty(), rng())
            .unwrap();
        assert_eq!(batches.len(), 1);
        batches.remove(0)
    }

    fn method(baseline: Baseline) -> PolicyGradient {
        PolicyGradient::new(baseline, KlPlacement::Reward).unwrap()
    }

    const GROUPS: [&[usize]; 2] = [&[3, 1, 4], &[2, 5]];

    #[test]
    fn token_gradients_are_minus_the_advantage_over_the_batch_size() {
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
    fn losses_of_micro_batches_sum_to_that_of_the_batch_and_keep_groups_whole() {
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
    fn the_moving_baseline_is_updated_and_restored() {
        let mut method = method(Baseline::Moving { decay: 0.75 });
        let advantages_of = |batch: GradientBatch| batch.advantages.to_vec().unwrap();
        let all: &[&[usize]] = &[&[3], &[1], &[4], &[2, 5]];
        let first = advantages_of(batch(&mut method, all));
        // The first baseline is the mean of the first iteration.
        assert!(first.iter().sum::<f32>().abs() < 1e-5);
        let mean = method.state().0.unwrap();
        let second = returns(&scored_with_lengths(&[&[4], &[4]])).unwrap();
        let advantages = advantages_of(batch(&mut method, &[&[4], &[4]]));
        for (f, a) in second.iter().zip(&advantages) {
            assert!((f - mean - f64::from(*a)).abs() < 1e-6);
        }
        let second_mean = second.iter().sum::<f64>() / 2.0;
        let updated = method.state().0.unwrap();
        assert!((updated - 0.75 * mean - 0.25 * second_mean).abs() < 1e-12);
        let mut resumed = self::method(Baseline::Moving { decay: 0.75 });
        resumed.load_state(method.state());
        let next = |method: &mut PolicyGradient| advantages_of(batch(method, all));
        assert_eq!(next(&mut resumed), next(&mut method));
    }

    #[test]
    fn one_response_a_prompt_is_an_error_for_group_baselines() {
        for baseline in [Baseline::LeaveOneOut, Baseline::Group] {
            let error = method(baseline).batches(
                scored_with_lengths(&[&[2, 1], &[3]]),
                &mut penalty(),
                rng(),
            );
            let error = error.unwrap_err().to_string();
            assert!(error.contains("samples_per_prompt"), "{error}");
        }
        let empty = method(Baseline::Moving { decay: 0.5 });
        assert!(
            empty
                .clone()
                .batches(scored_with_lengths(&[]), &mut penalty(), rng())
                .is_err()
        );
        let decay = Baseline::Moving { decay: 1.0 };
        assert!(PolicyGradient::new(decay, KlPlacement::Reward).is_err());
    }
}
