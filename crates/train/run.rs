//! What every run does around its steps: journal, progress, checkpoints, interruption.

use crate::state::{forget_optimizers, save, save_policy};
use crate::warnings::Warnings;
use crate::{Error, Result, State};
use rlhf_journal::Journal;
use rlhf_objective::Beta;
use rlhf_policy::ActorCritic;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Numbers of a step by their names.
pub(crate) type Metrics = BTreeMap<&'static str, f64>;

/// How far a run is, after a step.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// Steps done.
    pub step: usize,
    /// All steps of the run.
    pub total: usize,
    /// What was written to `metrics.jsonl`.
    pub metrics: &'a BTreeMap<&'static str, f64>,
    /// What a person should look at, a sentence each; most steps have none.
    pub warnings: &'a [String],
    /// Tokens a second in this step: response tokens drawn, or tokens read from a data set.
    pub tokens_per_second: f64,
    /// An estimate of the time left, seconds.
    pub seconds_left: f64,
}

/// Somebody who looks on.
pub trait Watch {
    /// Called after each step.
    fn step(&mut self, progress: &Progress<'_>);
}

/// How a run ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All steps are done, and `final/` is written.
    Done,
    /// It was interrupted; the step under way was finished and a checkpoint written.
    Interrupted,
}

/// Where a run is written, who looks on, and what can stop it.
pub struct Run<'a> {
    /// The run folder.
    pub journal: &'a mut Journal,
    /// Called after each step.
    pub watch: &'a mut dyn Watch,
    /// Set by somebody else to end the run after the step under way.
    pub interrupt: &'a AtomicBool,
    /// Where it starts: [`State::default`], or what [`restore`](crate::restore) said.
    pub start: State,
    /// A checkpoint is written after this many steps each time, and at the end in any case.
    pub save_every: Option<usize>,
}

/// What a step leaves.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) metrics: Metrics,
    /// Seconds by phase.
    pub(crate) seconds: Metrics,
    pub(crate) tokens: usize,
    pub(crate) beta: Option<Beta>,
    pub(crate) memory: Option<f64>,
}

impl Run<'_> {
    /// Does the steps from `start` to `total` with `work`.
    pub(crate) fn drive(
        &mut self,
        policy: &mut ActorCritic,
        total: usize,
        mut work: impl FnMut(&mut ActorCritic, &mut Journal, usize) -> Result<Done>,
    ) -> Result<Ended> {
        if total == 0 {
            return Err(Error::Empty("the run has no steps: its data set is empty"));
        }
        let mut warnings = self.warnings_so_far()?;
        forget_optimizers(self.journal, self.start.step)?;
        let began = Instant::now();
        for step in self.start.step..total {
            let done = self
                .step(policy, (step, total), began, &mut warnings, &mut work)
                .map_err(|source| self.stopped(step, total, source))?;
            if done == Ended::Interrupted {
                return Ok(done);
            }
        }
        self.journal
            .final_model(|folder| save_policy(policy, folder))?;
        Ok(Ended::Done)
    }

    /// One step, what is written about it, and its checkpoint where one is due.
    fn step(
        &mut self,
        policy: &mut ActorCritic,
        (step, total): (usize, usize),
        began: Instant,
        warnings: &mut Warnings,
        work: &mut impl FnMut(&mut ActorCritic, &mut Journal, usize) -> Result<Done>,
    ) -> Result<Ended> {
        let step_began = Instant::now();
        let done = work(policy, self.journal, step)?;
        let seconds = step_began.elapsed().as_secs_f64();
        let rate = done.tokens as f64 / seconds;
        self.write(step, &done, seconds, rate)?;
        let warnings = warnings.see(&done.metrics);
        for sentence in &warnings {
            self.journal.warning(step, sentence)?;
        }
        let each = began.elapsed().as_secs_f64() / (step + 1 - self.start.step) as f64;
        self.watch.step(&Progress {
            step: step + 1,
            total,
            metrics: &done.metrics,
            warnings: &warnings,
            tokens_per_second: rate,
            seconds_left: each * (total - step - 1) as f64,
        });
        let state = State {
            step: step + 1,
            beta: done.beta,
            memory: done.memory,
        };
        let (last, interrupted) = (state.step == total, self.interrupt.load(Ordering::Relaxed));
        let due = self
            .save_every
            .is_some_and(|every| state.step.is_multiple_of(every));
        if last || interrupted || due {
            save(policy, self.journal, state)?;
        }
        Ok(match interrupted && !last {
            true => Ended::Interrupted,
            false => Ended::Done,
        })
    }

    fn write(&mut self, step: usize, done: &Done, seconds: f64, rate: f64) -> Result<()> {
        let metrics = done.metrics.iter().map(|(name, value)| (*name, *value));
        self.journal.metrics(step, metrics)?;
        let phases = done.seconds.iter().map(|(name, value)| (*name, *value));
        let whole = [("seconds", seconds), ("tokens_per_second", rate)];
        Ok(self.journal.timing(step, whole.into_iter().chain(phases))?)
    }

    /// The state of the warnings after the steps that are done already.
    fn warnings_so_far(&self) -> Result<Warnings> {
        let mut warnings = Warnings::default();
        if self.start.step > 0 {
            for row in rlhf_journal::metrics(self.journal.folder())? {
                let numbers = row
                    .values
                    .iter()
                    .map(|(name, value)| (name.as_str(), *value));
                warnings.see(&numbers.collect());
            }
        }
        Ok(warnings)
    }

    /// Says where an error stopped the run, and what is left of it.
    fn stopped(&self, step: usize, total: usize, source: Error) -> Error {
        let checkpoint = rlhf_journal::last_checkpoint(self.journal.folder());
        let left = match checkpoint {
            Ok(checkpoint) => format!("{} is whole", checkpoint.path.display()),
            Err(_) => "no checkpoint was written yet".into(),
        };
        Error::Stopped {
            step: step + 1,
            total,
            left,
            source: Box::new(source),
        }
    }
}
