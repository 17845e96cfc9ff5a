//! VarGrad: minimizes the variance of r − β·ℓ, which is 0 at the optimum.

use crate::VarGradConfig;
use crate::baseline::sum;
use crate::groups::{groups, groups_of_at_least_two};
use rlhf_objective::{KlPenalty, Outputs, PerSeq, PerToken, Result, Scored, Sequences, tilt};
use rlhf_tensor::{Rng, Tensor};
use rlhf_train::{Learner, Loss, Method, Passes, Stats, minibatches};
use std::ops::{ControlFlow, Range};

/// VarGrad, the log-variance loss (Richter et al. 2020, eq. 12): ½·Var(r(x, y) − β·ℓ(y)) over the
/// responses to a prompt, unbiased (K − 1), averaged over prompts; in squared units of the reward.
///
/// The responses are detached and may come from any sampler with full support, because at π* the
/// variance is 0 for any responses. With responses of the policy, the expected gradient is −β times
/// that of the objective.
#[derive(Debug, Clone)]
pub struct VarGrad {
    config: VarGradConfig,
}

impl VarGrad {
    /// Creates the method from its settings.
    ///
    /// # Errors
    /// If a setting is out of its range.
    pub fn new(config: VarGradConfig) -> Result<Self> {
        config.check()?;
        Ok(Self { config })
    }
}

/// Groups of responses with their scores and prior log-probs.
#[derive(Debug, Clone)]
pub struct VarGradBatch {
    pub(crate) sequences: Sequences,
    pub(crate) scores: PerSeq,
    /// log p₀(y|x), nats.
    pub(crate) prior_log_probs: PerSeq,
    pub(crate) beta: f64,
    /// One over the number of groups.
    pub(crate) weight: f64,
}

impl VarGradBatch {
    /// A batch of all rollouts of an iteration.
    ///
    /// # Errors
    /// If a prompt has fewer than two responses.
    pub fn new(scored: Scored) -> Result<Self> {
        let rollouts = scored.rollouts;
        Ok(Self {
            weight: 1.0 / groups_of_at_least_two(&rollouts.sequences)?.len() as f64,
            prior_log_probs: rollouts.prior_log_probs.sums()?,
            sequences: rollouts.sequences,
            scores: scored.scores,
            beta: scored.beta,
        })
    }

    fn subset(&self, responses: &[usize]) -> Result<Self> {
        Ok(Self {
            sequences: self.sequences.select(responses),
            scores: self.scores.select(responses)?,
            prior_log_probs: self.prior_log_probs.select(responses)?,
            ..*self
        })
    }

    /// A subset of the groups for one optimizer step.
    fn minibatch(&self, groups: &[Range<usize>]) -> Result<Self> {
        let responses: Vec<usize> = groups.iter().cloned().flatten().collect();
        Ok(Self {
            weight: 1.0 / groups.len() as f64,
            ..self.subset(&responses)?
        })
    }
}

/// x minus the mean of its group, and the factor ½/(K − 1), for each response: \[B\] both.
fn center_by_group(x: &Tensor, groups: &[Range<usize>]) -> Result<(Tensor, Tensor)> {
    let offsets: Vec<usize> = std::iter::once(0)
        .chain(groups.iter().map(|g| g.end))
        .collect();
    let (mut group_index, mut mean_weight, mut scale) = (Vec::new(), Vec::new(), Vec::new());
    for (index, group) in groups.iter().enumerate() {
        let size = group.len() as f32;
        for _ in group.clone() {
            group_index.push(index as u32);
            mean_weight.push(size.recip());
            scale.push(0.5 / (size - 1.0));
        }
    }
    let constant = |x: Vec<f32>| PerSeq::from_vec(x).map(|x| x.values().clone());
    let group_index = Tensor::from_vec(group_index, offsets[groups.len()], x.device())?;
    let means = PerToken::new((x * constant(mean_weight)?)?, offsets.into())?.sums()?;
    let difference = (x - means.values().index_select(&group_index, 0)?)?;
    Ok((difference, constant(scale)?))
}

impl Learner for VarGrad {
    type Batch = VarGradBatch;

    fn sequences<'a>(&self, batch: &'a VarGradBatch) -> &'a Sequences {
        &batch.sequences
    }

    fn select(&self, batch: &VarGradBatch, responses: &[usize]) -> Result<VarGradBatch> {
        batch.subset(responses)
    }

    /// The metric `loss` is ½·Var; `vargrad/value` is the mean of r − β·ℓ, in expectation at most the
    /// mean of V = β·log Z over prompts, with equality at the optimum.
    fn loss(&self, outputs: &Outputs, batch: &VarGradBatch) -> Result<Loss> {
        let log_probs = outputs.log_probs.sums()?;
        let penalties = tilt(
            log_probs.values(),
            batch.prior_log_probs.values(),
            batch.beta,
        )?;
        let f = (batch.scores.values() - penalties)?;
        let groups = groups(&batch.sequences);
        let (difference, scale) = center_by_group(&f, &groups)?;
        let losses = (difference.sqr()? * scale)?;
        let mut stats = Stats::new();
        stats.mean("loss", sum(&losses)?, groups.len() as f64);
        stats.mean("vargrad/value", sum(&f)?, batch.sequences.len() as f64);
        let value = (losses.sum_all()? * batch.weight)?;
        Ok(Loss { value, stats })
    }
}

impl Method for VarGrad {
    type State = ();

    /// Mini-batches hold whole groups. Micro-batches of a network never split a group either.
    fn batches(
        &mut self,
        scored: Scored,
        _: &mut KlPenalty,
        rng: Rng,
    ) -> Result<Vec<VarGradBatch>> {
        let batch = VarGradBatch::new(scored)?;
        let groups = groups(&batch.sequences);
        let passes = Passes {
            epochs: self.config.epochs,
            minibatches: self.config.minibatches,
        };
        minibatches(batch, groups, passes, rng, VarGradBatch::minibatch)
    }

    fn min_responses_per_prompt(&self) -> usize {
        2
    }

    fn after_step(&mut self, _: &Stats) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn state(&self) {}

    fn load_state(&mut self, (): ()) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{penalty, rng, scored_with_lengths};

    const GROUPS: [&[usize]; 3] = [&[3, 1, 4], &[2, 5], &[1, 1, 2, 1]];

    fn loss_and_gradient(method: &VarGrad, batch: &VarGradBatch) -> (f32, Vec<f32>) {
        let wave = |i: usize| -0.2 - (i * 5 % 7) as f32 * 0.3;
        let log_probs = |y: usize| vec![wave(y); batch.sequences.responses()[y].ids.len()];
        let log_probs = (0..batch.sequences.len()).flat_map(log_probs).collect();
        let outputs = Outputs::new(&batch.sequences, log_probs, None, None).unwrap();
        let loss = method.loss(&outputs, batch).unwrap();
        let gradients = outputs.gradients(&loss.value).unwrap();
        (
            loss.value.to_scalar().unwrap(),
            gradients.log_probs.unwrap(),
        )
    }

    #[test]
    fn loss_is_half_the_variance_of_each_group() {
        let method = VarGrad::new(VarGradConfig::default()).unwrap();
        let batch = VarGradBatch::new(scored_with_lengths(&GROUPS)).unwrap();
        let prior = batch.prior_log_probs.to_vec().unwrap();
        let scores = batch.scores.to_vec().unwrap();
        let f = |y: usize| {
            let log_prob =
                (-0.2 - (y * 5 % 7) as f64 * 0.3) * [3., 1., 4., 2., 5., 1., 1., 2., 1.][y];
            f64::from(scores[y]) - batch.beta * (log_prob - f64::from(prior[y]))
        };
        let half_variance = |group: Range<usize>| {
            let (n, sum) = (group.len() as f64, group.clone().map(f).sum::<f64>());
            0.5 * group.map(|y| (f(y) - sum / n).powi(2)).sum::<f64>() / (n - 1.0)
        };
        let exact = (half_variance(0..3) + half_variance(3..5) + half_variance(5..9)) / 3.0;
        assert!((f64::from(loss_and_gradient(&method, &batch).0) - exact).abs() < 1e-5 * exact);
    }

    /// Only `tilt` multiplies β and log-ratios, and at β = 0 it ignores the prior.
    #[test]
    fn at_beta_zero_the_loss_is_finite_where_the_prior_is_zero() {
        let method = VarGrad::new(VarGradConfig::default()).unwrap();
        let loss_with_prior = |prior: f32| {
            let mut scored = scored_with_lengths(&GROUPS);
            scored.beta = 0.0;
            let sequences = &scored.rollouts.sequences;
            let all = PerToken::from_vec(vec![prior; sequences.tokens()], sequences.offsets());
            scored.rollouts.prior_log_probs = all.unwrap();
            let batch = VarGradBatch::new(scored).unwrap();
            let numbers = vec![-0.5; batch.sequences.tokens()];
            let outputs = Outputs::new(&batch.sequences, numbers, None, None).unwrap();
            let loss = method.loss(&outputs, &batch).unwrap();
            loss.value.to_scalar::<f32>().unwrap()
        };
        // The loss is then half the variance of the scores.
        let loss = loss_with_prior(f32::NEG_INFINITY);
        assert!(loss.is_finite() && loss > 0.0, "{loss}");
        assert_eq!(loss, loss_with_prior(-1.0));
    }

    #[test]
    fn minibatches_hold_whole_groups_and_partition_an_epoch() {
        let mut method = VarGrad::new(VarGradConfig {
            epochs: 2,
            minibatches: 2,
        })
        .unwrap();
        let batches = method
            .batches(scored_with_lengths(&GROUPS), &mut penalty(), rng())
            .unwrap();
        assert_eq!(batches.len(), 4);
        for epoch in batches.chunks(2) {
            let mut sizes: Vec<usize> = epoch
                .iter()
                .flat_map(|batch| groups(&batch.sequences))
                .map(|group| group.len())
                .collect();
            sizes.sort_unstable();
            assert_eq!(sizes, [2, 3, 4]);
        }
        let mut method = VarGrad::new(VarGradConfig::default()).unwrap();
        assert_eq!(
            method
                .batches(scored_with_lengths(&GROUPS), &mut penalty(), rng())
                .unwrap()
                .len(),
            4
        );
        assert!(
            method
                .batches(scored_with_lengths(&[&[2]]), &mut penalty(), rng())
                .is_err()
        );
        assert!(
            method
                .batches(scored_with_lengths(&[]), &mut penalty(), rng())
                .is_err()
        );
    }

    #[test]
    fn losses_and_gradients_of_micro_batches_sum_to_those_of_the_batch() {
        let method = VarGrad::new(VarGradConfig::default()).unwrap();
        // The same numbers for each group, so that any subset of groups has the right ones.
        let groups: [&[usize]; 2] = [&[3, 1], &[3, 1]];
        let batch = VarGradBatch::new(scored_with_lengths(&groups)).unwrap();
        let loss_and_gradient = |batch: &VarGradBatch| {
            let numbers = vec![-0.5; batch.sequences.tokens()];
            let outputs = Outputs::new(&batch.sequences, numbers, None, None).unwrap();
            let loss = method.loss(&outputs, batch).unwrap();
            let gradients = outputs.gradients(&loss.value).unwrap();
            (
                loss.value.to_scalar::<f32>().unwrap(),
                gradients.log_probs.unwrap(),
                loss.stats,
            )
        };
        let (whole, gradient, stats) = loss_and_gradient(&batch);
        let (mut total, mut gradients, mut absorbed) = (0.0, Vec::new(), Stats::new());
        for range in batch.sequences.micro_batches(1, method.group()) {
            let subset = method.select(&batch, &range.collect::<Vec<_>>()).unwrap();
            let (value, gradient, stats) = loss_and_gradient(&subset);
            total += value;
            gradients.extend(gradient);
            absorbed.absorb(&stats);
        }
        assert!((total - whole).abs() < 1e-6);
        assert_eq!(gradients, gradient);
        for (name, number) in absorbed.iter() {
            assert!((stats.get(name).unwrap() - number).abs() < 1e-6, "{name}");
        }
    }
}
