//! The variance of what is equal at the optimum.

use crate::VarGradConfig;
use crate::baseline::sum;
use crate::groups::{compared, groups};
use rlhf_objective::{KlPenalty, Outputs, PerSeq, PerToken, Result, Scored, Sequences, tilt};
use rlhf_tensor::{Rng, Tensor};
use rlhf_train::{Learner, Loss, Method, Passes, Stats, minibatches};
use std::ops::{ControlFlow, Range};

/// VarGrad, the log-variance loss (Richter et al. 2020, eq. 12): ½·Var(r(x, y) − β·ℓ(y)) over the
/// responses to a prompt, unbiased (K − 1), averaged over prompts; in squared units of the reward.
///
/// The responses are detached, so any sampler that reaches them all will do: at π* the variance is
/// 0 whatever they are. Over the policy's own, its gradient is −β times that of the objective.
#[derive(Debug, Clone)]
pub struct VarGrad {
    config: VarGradConfig,
}

impl VarGrad {
    /// With these settings.
    ///
    /// # Errors
    /// If a setting is out of its range.
    pub fn new(config: VarGradConfig) -> Result<Self> {
        config.check()?;
        Ok(Self { config })
    }
}

/// Groups of responses with their scores and what the prior says of them.
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
    /// The whole of a rollout.
    ///
    /// # Errors
    /// If a prompt has fewer than two responses.
    pub fn new(scored: Scored) -> Result<Self> {
        let rollouts = scored.rollouts;
        Ok(Self {
            weight: 1.0 / compared(&rollouts.sequences)?.len() as f64,
            prior_log_probs: rollouts.prior_log_probs.sums()?,
            sequences: rollouts.sequences,
            scores: scored.scores,
            beta: scored.beta,
        })
    }

    fn part(&self, responses: &[usize]) -> Result<Self> {
        Ok(Self {
            sequences: self.sequences.select(responses),
            scores: self.scores.select(responses)?,
            prior_log_probs: self.prior_log_probs.select(responses)?,
            ..*self
        })
    }

    /// Some of the groups as a batch of its own.
    fn minibatch(&self, groups: &[Range<usize>]) -> Result<Self> {
        let responses: Vec<usize> = groups.iter().cloned().flatten().collect();
        Ok(Self {
            weight: 1.0 / groups.len() as f64,
            ..self.part(&responses)?
        })
    }
}

/// x minus its group's mean, and ½/(K − 1) for each response, \[B\].
fn centred(x: &Tensor, groups: &[Range<usize>]) -> Result<(Tensor, Tensor)> {
    let offsets: Vec<usize> = std::iter::once(0)
        .chain(groups.iter().map(|g| g.end))
        .collect();
    let (mut owner, mut share, mut scale) = (Vec::new(), Vec::new(), Vec::new());
    for (index, group) in groups.iter().enumerate() {
        let size = group.len() as f32;
        for _ in group.clone() {
            owner.push(index as u32);
            share.push(size.recip());
            scale.push(0.5 / (size - 1.0));
        }
    }
    let constant = |numbers: Vec<f32>| PerSeq::from_vec(numbers).map(|of| of.values().clone());
    let owner = Tensor::from_vec(owner, offsets[groups.len()], x.device())?;
    let means = PerToken::new((x * constant(share)?)?, offsets.into())?.sums()?;
    let difference = (x - means.values().index_select(&owner, 0)?)?;
    Ok((difference, constant(scale)?))
}

impl Learner for VarGrad {
    type Batch = VarGradBatch;

    fn sequences<'a>(&self, batch: &'a VarGradBatch) -> &'a Sequences {
        &batch.sequences
    }

    fn select(&self, batch: &VarGradBatch, responses: &[usize]) -> Result<VarGradBatch> {
        batch.part(responses)
    }

    /// Its statistic `loss` is ½·Var; `vargrad/value` is the mean of r − β·ℓ, which is V = β·log Z
    /// of the prompts at the optimum and no more elsewhere.
    fn loss(&self, outputs: &Outputs, batch: &VarGradBatch) -> Result<Loss> {
        let log_probs = outputs.log_probs.sums()?;
        let tilted = tilt(
            log_probs.values(),
            batch.prior_log_probs.values(),
            batch.beta,
        )?;
        let compared = (batch.scores.values() - tilted)?;
        let groups = groups(&batch.sequences);
        let (difference, scale) = centred(&compared, &groups)?;
        let losses = (difference.sqr()? * scale)?;
        let mut stats = Stats::new();
        stats.mean("loss", sum(&losses)?, groups.len() as f64);
        stats.mean(
            "vargrad/value",
            sum(&compared)?,
            batch.sequences.len() as f64,
        );
        let value = (losses.sum_all()? * batch.weight)?;
        Ok(Loss { value, stats })
    }
}

impl Method for VarGrad {
    type State = ();

    /// In mini-batches of whole groups. (A network's micro-batches never part responses to one
    /// prompt either.)
    fn batches(
        &mut self,
        scored: Scored,
        _: &mut KlPenalty,
        rng: Rng,
    ) -> Result<Vec<VarGradBatch>> {
        let whole = VarGradBatch::new(scored)?;
        let groups = groups(&whole.sequences);
        let passes = Passes {
            epochs: self.config.epochs,
            minibatches: self.config.minibatches,
        };
        minibatches(whole, groups, passes, rng, VarGradBatch::minibatch)
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
    use crate::testing::{penalty, rng, scored};

    const GROUPS: [&[usize]; 3] = [&[3, 1, 4], &[2, 5], &[1, 1, 2, 1]];

    fn value(method: &VarGrad, batch: &VarGradBatch) -> (f32, Vec<f32>) {
        let wave = |i: usize| -0.2 - (i * 5 % 7) as f32 * 0.3;
        let of_response = |y: usize| vec![wave(y); batch.sequences.responses()[y].ids.len()];
        let numbers = (0..batch.sequences.len()).flat_map(of_response).collect();
        let outputs = Outputs::new(&batch.sequences, numbers, None, None).unwrap();
        let loss = method.loss(&outputs, batch).unwrap();
        let gradients = outputs.gradients(&loss.value).unwrap();
        (
            loss.value.to_scalar().unwrap(),
            gradients.log_probs.unwrap(),
        )
    }

    #[test]
    fn it_is_half_the_variance_of_each_group() {
        let method = VarGrad::new(VarGradConfig::default()).unwrap();
        let batch = VarGradBatch::new(scored(&GROUPS)).unwrap();
        let prior = batch.prior_log_probs.to_vec().unwrap();
        let scores = batch.scores.to_vec().unwrap();
        let f = |y: usize| {
            let log_prob =
                (-0.2 - (y * 5 % 7) as f64 * 0.3) * [3., 1., 4., 2., 5., 1., 1., 2., 1.][y];
            f64::from(scores[y]) - batch.beta * (log_prob - f64::from(prior[y]))
        };
        let of_group = |group: Range<usize>| {
            let (n, sum) = (group.len() as f64, group.clone().map(f).sum::<f64>());
            0.5 * group.map(|y| (f(y) - sum / n).powi(2)).sum::<f64>() / (n - 1.0)
        };
        let exact = (of_group(0..3) + of_group(3..5) + of_group(5..9)) / 3.0;
        assert!((f64::from(value(&method, &batch).0) - exact).abs() < 1e-5 * exact);
    }

    /// β meets a log-ratio in `tilt` alone, which at a β of 0 forgets the prior, whatever it says.
    #[test]
    fn where_nothing_is_paid_a_prior_may_forbid_everything() {
        let method = VarGrad::new(VarGradConfig::default()).unwrap();
        let under = |prior: f32| {
            let mut scored = scored(&GROUPS);
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
        // What is left is half the variance of the scores.
        let loss = under(f32::NEG_INFINITY);
        assert!(loss.is_finite() && loss > 0.0, "{loss}");
        assert_eq!(loss, under(-1.0));
    }

    #[test]
    fn minibatches_are_whole_groups_and_cover_an_epoch() {
        let mut method = VarGrad::new(VarGradConfig {
            epochs: 2,
            minibatches: 2,
        })
        .unwrap();
        let batches = method
            .batches(scored(&GROUPS), &mut penalty(), rng())
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
        let mut whole = VarGrad::new(VarGradConfig::default()).unwrap();
        assert_eq!(
            whole
                .batches(scored(&GROUPS), &mut penalty(), rng())
                .unwrap()
                .len(),
            4
        );
        assert!(
            whole
                .batches(scored(&[&[2]]), &mut penalty(), rng())
                .is_err()
        );
        assert!(whole.batches(scored(&[]), &mut penalty(), rng()).is_err());
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        let method = VarGrad::new(VarGradConfig::default()).unwrap();
        // The same numbers for each group, so that parts know theirs.
        let groups: [&[usize]; 2] = [&[3, 1], &[3, 1]];
        let batch = VarGradBatch::new(scored(&groups)).unwrap();
        let constant = |batch: &VarGradBatch| {
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
        let (whole, gradient, stats) = constant(&batch);
        let (mut total, mut parts, mut absorbed) = (0.0, Vec::new(), Stats::new());
        for range in batch.sequences.micro_batches(1, method.group()) {
            let part = method.select(&batch, &range.collect::<Vec<_>>()).unwrap();
            let (value, gradient, stats) = constant(&part);
            total += value;
            parts.extend(gradient);
            absorbed.absorb(&stats);
        }
        assert!((total - whole).abs() < 1e-6);
        assert_eq!(parts, gradient);
        for (name, number) in absorbed.iter() {
            assert!((stats.get(name).unwrap() - number).abs() < 1e-6, "{name}");
        }
    }
}
