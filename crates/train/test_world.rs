//! A learner, a method and small runs for the tests of the loops.

use crate::*;
use rlhf_journal::{Existing, Journal};
use rlhf_objective::{
    Beta, KlPenalty, Network, Objective, Outputs, PerSeq, PerToken, Prompt, Result, Reward, Scored,
    Sequences,
};
use rlhf_policy::testing::{Bigram, sequences};
use rlhf_policy::{Draw, Networks, Sampling, SavedNetwork};
use rlhf_prior::Frozen;
use rlhf_tensor::{AdamW, Rng, Storage};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

/// −Σ weight·log π over response tokens; the weights are part of the batch.
pub(crate) struct Likelihood;

pub(crate) struct Weighted {
    pub(crate) sequences: Sequences,
    pub(crate) weights: PerToken,
    /// log π_old, to measure the importance ratio.
    old: PerToken,
}

/// Responses with one weight each.
pub(crate) fn weighted(sequences: Sequences, weights: &[f32]) -> Weighted {
    let lengths = sequences.responses().iter().map(|r| r.ids.len());
    let each = weights.iter().zip(lengths);
    let weights: Vec<f32> = each.flat_map(|(w, n)| vec![*w; n]).collect();
    let old = PerToken::from_vec(vec![0.0; weights.len()], sequences.offsets()).unwrap();
    let weights = PerToken::from_vec(weights, sequences.offsets()).unwrap();
    Weighted {
        sequences,
        weights,
        old,
    }
}

impl Learner for Likelihood {
    type Batch = Weighted;

    fn sequences<'a>(&self, batch: &'a Weighted) -> &'a Sequences {
        &batch.sequences
    }

    fn select(&self, batch: &Weighted, responses: &[usize]) -> Result<Weighted> {
        Ok(Weighted {
            sequences: batch.sequences.select(responses),
            weights: batch.weights.select(responses)?,
            old: batch.old.select(responses)?,
        })
    }

    fn loss(&self, outputs: &Outputs, batch: &Weighted) -> Result<Loss> {
        let weighted = (outputs.log_probs.values() * batch.weights.values())?;
        let value = weighted.sum_all()?.neg()?;
        let mut stats = Stats::new();
        stats.sum("loss", f64::from(value.to_scalar::<f32>()?));
        let moved = (outputs.log_probs.values() - batch.old.values())?.abs()?;
        stats.max(
            "log_ratio_max",
            f64::from(moved.max(0)?.to_scalar::<f32>()?),
        );
        Ok(Loss { value, stats })
    }
}

/// Policy gradient with the mean return as the baseline, one step per iteration.
pub(crate) struct Gradient;

impl Learner for Gradient {
    type Batch = Weighted;

    fn sequences<'a>(&self, batch: &'a Weighted) -> &'a Sequences {
        Likelihood.sequences(batch)
    }

    fn select(&self, batch: &Weighted, responses: &[usize]) -> Result<Weighted> {
        Likelihood.select(batch, responses)
    }

    /// Adds a term that pulls the values towards 1, so that a critic is trained too.
    fn loss(&self, outputs: &Outputs, batch: &Weighted) -> Result<Loss> {
        let Loss { mut value, stats } = Likelihood.loss(outputs, batch)?;
        if let Some(values) = &outputs.values {
            value = (value + ((values.values() - 1.0)?.sqr()?.sum_all()? * 0.01)?)?;
        }
        Ok(Loss { value, stats })
    }
}

impl Method for Gradient {
    type State = ();

    fn batches(&mut self, scored: Scored, _: &mut KlPenalty, _: Rng) -> Result<Vec<Weighted>> {
        let returns = scored.rewards.sums()?.to_vec()?;
        let n = returns.len() as f32;
        let mean = returns.iter().sum::<f32>() / n;
        let weights: Vec<f32> = returns.iter().map(|x| (x - mean) / n).collect();
        let rollouts = scored.rollouts;
        Ok(vec![Weighted {
            old: rollouts.log_probs,
            ..weighted(rollouts.sequences, &weights)
        }])
    }

    fn after_step(&mut self, _: &Stats) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn state(&self) {}

    fn load_state(&mut self, (): ()) {}
}

/// The fraction of token 2 in a response, as its reward.
pub(crate) struct ShareOfToken2;

impl Reward for ShareOfToken2 {
    fn score(&mut self, s: &Sequences) -> Result<PerSeq> {
        let share =
            |ids: &[u32]| ids.iter().filter(|id| **id == 2).count() as f32 / ids.len() as f32;
        PerSeq::from_vec(s.responses().iter().map(|r| share(&r.ids)).collect())
    }
}

/// Makes the networks of a run.
pub(crate) struct TestSetup {
    /// The policy to start from, or that of a checkpoint.
    pub(crate) policy: fn(Option<&Path>) -> Networks,
    /// The prior, frozen.
    pub(crate) prior: fn() -> Box<dyn Network>,
}

/// A bigram table that starts at its prior.
pub(crate) const TABLE: TestSetup = TestSetup {
    policy: |checkpoint| {
        let table = match checkpoint {
            Some(folder) => Bigram::load(folder, Storage::Trainable).unwrap(),
            None => Bigram::random(5, Storage::Trainable, 1),
        };
        Networks::policy(SavedNetwork::new(table, Bigram::save))
    },
    prior: || Box::new(Bigram::random(5, Storage::Frozen, 1)),
};

pub(crate) fn optim() -> Optim {
    Optim {
        adamw: AdamW::default(),
        learning_rate: 0.05,
        schedule: Schedule::default(),
        clip: Some(1.0),
        micro_batch_tokens: 1000,
    }
}

pub(crate) fn settings() -> Online {
    Online {
        iterations: 6,
        prompts: 4,
        sampling: Sampling {
            samples: 4,
            max_new_tokens: 8,
            rows: 5,
            stop: vec![0],
            context: 64,
            draw: Draw::Sample,
            seed: 5,
            step: 0,
        },
        optim: optim(),
        log_samples: 2,
    }
}

/// Records the metrics of each step, and interrupts the run after `stop_after` steps.
pub(crate) struct RecordingObserver {
    pub(crate) metrics: Vec<std::collections::BTreeMap<&'static str, f64>>,
    pub(crate) stop_after: usize,
    pub(crate) flag: Arc<Interrupt>,
}

impl Observer for RecordingObserver {
    fn step(&mut self, progress: &Progress<'_>) {
        self.metrics.push(progress.metrics.clone());
        if progress.step == self.stop_after {
            self.flag.request();
        }
    }
}

/// A run of [`Gradient`] on [`ShareOfToken2`] in a folder, from the start or from its last checkpoint. It
/// checks that the log-probs of the prior do not change.
pub(crate) fn train(
    world: &TestSetup,
    folder: &Path,
    settings: &Online,
    beta: Beta,
    stop_after: usize,
    resume: bool,
) -> (crate::Result<Ended>, RecordingObserver) {
    let (reward, method) = (Box::new(ShareOfToken2), &mut Gradient);
    let settings = (settings, beta);
    train_for(reward, method, world, folder, settings, stop_after, resume)
}

/// The same with another reward and method.
pub(crate) fn train_for<M: Method>(
    reward: Box<dyn Reward>,
    method: &mut M,
    world: &TestSetup,
    folder: &Path,
    (settings, beta): (&Online, Beta),
    stop_after: usize,
    resume: bool,
) -> (crate::Result<Ended>, RecordingObserver) {
    let mut prompts: Vec<_> = (1..5)
        .map(|id| Arc::new(Prompt::from_ids(vec![id])))
        .collect();
    let prior = Box::new(Frozen::new((world.prior)()).unwrap());
    let mut objective = Objective::new(reward, KlPenalty::new(prior, beta));
    let before = prior_log_probs(&mut objective);
    let (mut policy, start, mut journal) = start_or_resume(world, folder, resume);
    let flag = Arc::new(Interrupt::new());
    let mut observer = RecordingObserver {
        metrics: vec![],
        stop_after,
        flag: flag.clone(),
    };
    let mut run = Run {
        journal: &mut journal,
        observer: &mut observer,
        interrupt: &flag,
        start,
        save_every: Some(4),
    };
    let prompts = Prompts {
        prompts: &mut prompts,
        decode: &|ids| format!("{ids:?}"),
    };
    let ended = online(
        &mut policy,
        &mut objective,
        method,
        prompts,
        settings,
        &mut run,
    );
    assert_eq!(prior_log_probs(&mut objective), before);
    (ended, observer)
}

fn prior_log_probs(objective: &mut Objective) -> Vec<f32> {
    let prior = objective.penalty().prior();
    prior.log_probs(&sequences()).unwrap().to_vec().unwrap()
}

/// The policy, the state and the journal of a run in `folder`: new, or from its last checkpoint.
pub(crate) fn start_or_resume(
    world: &TestSetup,
    folder: &Path,
    resume: bool,
) -> (Networks, State, Journal) {
    if !resume {
        let journal = Journal::create(folder, Existing::Refuse).unwrap();
        return ((world.policy)(None), State::default(), journal);
    }
    let last = rlhf_journal::last_checkpoint(folder).unwrap();
    let mut policy = (world.policy)(Some(&last.path));
    let start = restore(&last.path, &mut policy).unwrap();
    let journal = Journal::resume(folder, start.step).unwrap();
    (policy, start, journal)
}
