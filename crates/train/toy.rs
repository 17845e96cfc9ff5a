//! A learner, a method and a world for the tests of the loops.

use crate::*;
use rlhf_journal::{Existing, Journal};
use rlhf_objective::{
    Beta, KlPenalty, Objective, Outputs, PerSeq, PerToken, Prior, Prompt, Result, Reward, Scored,
    Sequences, Want,
};
use rlhf_policy::testing::Bigram;
use rlhf_policy::{ActorCritic, Draw, Sampling};
use rlhf_tensor::{AdamW, Rng, Storage, Tensor};
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// −Σ weight·log π over responses, normalized by whoever makes the batch.
pub(crate) struct Likelihood;

pub(crate) struct Weighted {
    pub(crate) sequences: Sequences,
    weights: PerToken,
    /// log π_old, to watch the ratio.
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

/// Policy gradient with the mean return as the baseline, one step an iteration.
pub(crate) struct Gradient;

impl Learner for Gradient {
    type Batch = Weighted;

    fn sequences<'a>(&self, batch: &'a Weighted) -> &'a Sequences {
        Likelihood.sequences(batch)
    }

    fn select(&self, batch: &Weighted, responses: &[usize]) -> Result<Weighted> {
        Likelihood.select(batch, responses)
    }

    fn loss(&self, outputs: &Outputs, batch: &Weighted) -> Result<Loss> {
        Likelihood.loss(outputs, batch)
    }
}

impl Method for Gradient {
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
}

/// The share of token 2 in a response.
pub(crate) struct Twos;

impl Reward for Twos {
    fn score(&mut self, s: &Sequences) -> Result<PerSeq> {
        let share =
            |ids: &[u32]| ids.iter().filter(|id| **id == 2).count() as f32 / ids.len() as f32;
        PerSeq::from_vec(s.responses().iter().map(|r| share(&r.ids)).collect())
    }
}

/// A frozen table as the prior.
pub(crate) struct Table(pub(crate) Bigram);

impl Prior for Table {
    fn log_probs(&mut self, s: &Sequences) -> Result<PerToken> {
        use rlhf_objective::Network;
        Ok(self.0.read(s, Want::SCORE)?.log_probs)
    }

    fn log_dist(&mut self, s: &Sequences, rows: Range<usize>) -> Result<Tensor> {
        use rlhf_objective::Network;
        self.0.read(s, Want::SCORE)?;
        self.0.log_dist(rows)
    }

    fn decoder(&mut self) -> Result<Box<dyn rlhf_objective::Decoder + '_>> {
        rlhf_objective::Network::decoder(&mut self.0)
    }
}

pub(crate) fn optim() -> Optim {
    Optim {
        adamw: AdamW::default(),
        learning_rate: 0.05,
        schedule: Schedule::default(),
        clip: Some(1.0),
        tokens_per_batch: 1000,
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

/// Keeps the metrics it sees, and interrupts after `stop_after` steps.
pub(crate) struct Seen {
    pub(crate) metrics: Vec<std::collections::BTreeMap<&'static str, f64>>,
    pub(crate) stop_after: usize,
    pub(crate) flag: Arc<AtomicBool>,
}

impl Watch for Seen {
    fn step(&mut self, progress: &Progress<'_>) {
        self.metrics.push(progress.metrics.clone());
        if progress.step == self.stop_after {
            self.flag.store(true, Ordering::Relaxed);
        }
    }
}

/// A run of [`Gradient`] from the prior, in a folder, from its start or its last checkpoint.
pub(crate) fn train(
    folder: &Path,
    settings: &Online,
    beta: Beta,
    stop_after: usize,
    resume: bool,
) -> (crate::Result<Ended>, Seen) {
    let prompts: Vec<_> = (1..5)
        .map(|id| Arc::new(Prompt::from_ids(vec![id])))
        .collect();
    let prior = Box::new(Table(Bigram::random(5, Storage::Frozen, 1)));
    let mut objective = Objective::new(Box::new(Twos), KlPenalty::new(prior, beta));
    let (mut policy, start, mut journal);
    if resume {
        let last = rlhf_journal::last_checkpoint(folder).unwrap();
        let loaded = Bigram::load(&last.path, Storage::Trainable).unwrap();
        policy = ActorCritic::new(Box::new(loaded));
        start = restore(&last.path, &mut policy).unwrap();
        journal = Journal::resume(folder, start.step).unwrap();
    } else {
        policy = ActorCritic::new(Box::new(Bigram::random(5, Storage::Trainable, 1)));
        start = State::default();
        journal = Journal::create(folder, Existing::Refuse).unwrap();
    }
    let flag = Arc::new(AtomicBool::new(false));
    let mut seen = Seen {
        metrics: vec![],
        stop_after,
        flag: flag.clone(),
    };
    let mut run = Run {
        journal: &mut journal,
        watch: &mut seen,
        interrupt: &flag,
        start,
        save_every: Some(4),
    };
    let prompts = Prompts {
        prompts: &prompts,
        decode: &|ids| format!("{ids:?}"),
    };
    let ended = online(
        &mut policy,
        &mut objective,
        &mut Gradient,
        prompts,
        settings,
        &mut run,
    );
    (ended, seen)
}
