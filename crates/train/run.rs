//! What every run does around its steps: journal, progress, checkpoints, interruption.

use crate::state::{forget_optimizers, save, save_policy};
use crate::warnings::Warnings;
use crate::{Abandoned, Error, Interrupt, Result, State};
use rlhf_journal::Journal;
use rlhf_objective::{Beta, Network};
use rlhf_policy::Networks;
use serde_json::Value;
use std::collections::BTreeMap;
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

/// Called after each step of a run, to show how far it is.
pub trait Observer {
    /// A step is done and its numbers are written.
    fn step(&mut self, progress: &Progress<'_>);
}

/// How a run ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All steps are done, and `final/` is written.
    Done,
    /// It was interrupted; the step under way was finished, or given up where it waited for a reward, and
    /// a checkpoint written.
    Interrupted,
}

/// Where a run is written, what observes it, and what can stop it.
pub struct Run<'a> {
    /// The run folder.
    pub journal: &'a mut Journal,
    /// Called after each step.
    pub observer: &'a mut dyn Observer,
    /// How another thread ends the run after the step under way.
    pub interrupt: &'a Interrupt,
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
    pub(crate) method: Value,
}

/// Whether a step was given up because the run was asked to end.
fn abandoned(error: &Error) -> bool {
    matches!(error, Error::Objective(rlhf_objective::Error::Other(source)) if source.is::<Abandoned>())
}

/// The policy after the last step whose numbers are in the journal: what a checkpoint of it would hold.
struct Finished {
    state: State,
    /// The version of the weights in that state.
    version: u64,
    /// Whether its checkpoint is there, or was tried.
    saved: bool,
}

impl Finished {
    /// Whether the policy in memory still is what that step left: no optimizer step was made since.
    fn is_whole(&self, policy: &Networks) -> bool {
        policy.version() == self.version
    }
}

impl Run<'_> {
    /// Does the steps from `start` to `total` with `work`. An error in a step that comes before its first
    /// optimizer step leaves a checkpoint of the steps before it.
    pub(crate) fn drive(
        &mut self,
        policy: &mut Networks,
        total: usize,
        mut work: impl FnMut(&mut Networks, &mut Journal, usize) -> Result<Done>,
    ) -> Result<Ended> {
        if total == 0 {
            return Err(Error::Empty("the run has no steps: its data set is empty"));
        }
        if self.start.step > total {
            let done = self.start.step;
            return Err(Error::Beyond { done, total });
        }
        let mut warnings = self.warnings_so_far()?;
        forget_optimizers(self.journal, self.start.step)?;
        let began = Instant::now();
        let _driven = self.interrupt.driven_here();
        let mut finished = Finished {
            state: self.start.clone(),
            version: policy.version(),
            // The checkpoint it was started from, or a start that needs none.
            saved: true,
        };
        for step in self.start.step..total {
            let at = (step, total);
            let done = self.step(policy, at, began, &mut warnings, &mut finished, &mut work);
            let done = match done {
                Err(source) if abandoned(&source) && finished.is_whole(policy) => {
                    self.give_up_step(policy, &mut finished)
                }
                done => done,
            };
            match done {
                Ok(Ended::Done) => {}
                Ok(Ended::Interrupted) => return Ok(Ended::Interrupted),
                Err(source) => return Err(self.stopped(policy, at, &finished, source)),
            }
        }
        self.final_model(policy)?;
        Ok(Ended::Done)
    }

    fn final_model(&self, policy: &Networks) -> Result<()> {
        let write = || {
            self.journal
                .final_model(|folder| save_policy(policy, folder))
        };
        self.interrupt.saving(write).map_err(|source| Error::Final {
            left: self.last_whole(),
            source: Box::new(source),
        })
    }

    /// One step, what is written about it, and its checkpoint where one is due.
    fn step(
        &mut self,
        policy: &mut Networks,
        (step, total): (usize, usize),
        began: Instant,
        warnings: &mut Warnings,
        finished: &mut Finished,
        work: &mut impl FnMut(&mut Networks, &mut Journal, usize) -> Result<Done>,
    ) -> Result<Ended> {
        let step_began = Instant::now();
        let done = work(policy, self.journal, step)?;
        let seconds = step_began.elapsed().as_secs_f64();
        let rate = done.tokens as f64 / seconds;
        let warnings = warnings.see(&done.metrics);
        self.write(step, &done, (seconds, rate), &warnings)?;
        let state = State {
            step: step + 1,
            beta: done.beta,
            method: done.method,
        };
        *finished = Finished {
            state,
            version: policy.version(),
            saved: false,
        };
        let each = began.elapsed().as_secs_f64() / (step + 1 - self.start.step) as f64;
        self.observer.step(&Progress {
            step: step + 1,
            total,
            metrics: &done.metrics,
            warnings: &warnings,
            tokens_per_second: rate,
            seconds_left: each * (total - step - 1) as f64,
        });
        let last = step + 1 == total;
        let mut interrupted = self.interrupt.asked();
        let due = self
            .save_every
            .is_some_and(|every| (step + 1).is_multiple_of(every));
        if last || interrupted || due {
            finished.saved = true;
            self.checkpoint(policy, &finished.state)?;
            // Nobody waits for another step who asked while this one was saved.
            interrupted = self.interrupt.asked();
        }
        Ok(if interrupted && !last {
            Ended::Interrupted
        } else {
            Ended::Done
        })
    }

    /// Ends as an interrupt does after the last finished step. The step under way changed nothing, so a
    /// resumed run does it as if nothing had been.
    fn give_up_step(&self, policy: &Networks, finished: &mut Finished) -> Result<Ended> {
        if !finished.saved {
            finished.saved = true;
            self.checkpoint(policy, &finished.state)?;
        }
        Ok(Ended::Interrupted)
    }

    /// Saves the state, and only then removes the optimizer's state of older checkpoints, which nothing
    /// resumes from any more.
    fn checkpoint(&self, policy: &Networks, state: &State) -> Result<()> {
        self.interrupt.saving(|| {
            save(policy, self.journal, state)?;
            forget_optimizers(self.journal, state.step)
        })
    }

    /// Appends a finished step to the journal.
    fn write(
        &mut self,
        step: usize,
        done: &Done,
        (seconds, rate): (f64, f64),
        warnings: &[String],
    ) -> Result<()> {
        let metrics = done.metrics.iter().map(|(name, value)| (*name, *value));
        self.journal.metrics(step, metrics)?;
        let phases = done.seconds.iter().map(|(name, value)| (*name, *value));
        let whole = [("seconds", seconds), ("tokens_per_second", rate)];
        self.journal.timing(step, whole.into_iter().chain(phases))?;
        for sentence in warnings {
            self.journal.warning(step, sentence)?;
        }
        Ok(())
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

    /// Says where an error stopped the run and what is left of it, once everything is saved that is whole.
    fn stopped(
        &self,
        policy: &Networks,
        (step, total): (usize, usize),
        finished: &Finished,
        source: Error,
    ) -> Error {
        Error::Stopped {
            step: step + 1,
            total,
            left: self.left(policy, finished, &source),
            source: Box::new(source),
        }
    }

    fn left(&self, policy: &Networks, finished: &Finished, source: &Error) -> String {
        let step = finished.state.step;
        if matches!(source, Error::Diverged { .. }) {
            // The weights that the step began with, or those that it has made of them.
            let diverged = step + usize::from(!finished.is_whole(policy));
            return self.before(diverged);
        }
        if finished.saved {
            return self.last_whole();
        }
        if !finished.is_whole(policy) {
            return format!(
                "the step had begun to change the policy, so what came after the last checkpoint is \
                 lost; {}",
                self.last_whole()
            );
        }
        // The older optimizer's state stays: the same error may come again from this one.
        let saved = self
            .interrupt
            .saving(|| save(policy, self.journal, &finished.state));
        match saved {
            Ok(()) => self.last_whole(),
            Err(error) => format!(
                "the policy after step {step} cannot be saved ({error}); {}",
                self.last_whole()
            ),
        }
    }

    /// What there is from before the policy of a step, which is of no use. A run that goes on from there
    /// with the same settings comes to the same end.
    fn before(&self, step: usize) -> String {
        let all = rlhf_journal::checkpoints(self.journal.folder()).unwrap_or_default();
        match all.iter().rfind(|checkpoint| checkpoint.step < step) {
            Some(last) => format!("the last checkpoint before it is {}", last.path.display()),
            None if all.is_empty() => self.last_whole(),
            None => "there is no checkpoint from before".into(),
        }
    }

    /// What the run can be continued from.
    fn last_whole(&self) -> String {
        match rlhf_journal::last_checkpoint(self.journal.folder()) {
            Ok(last) => format!("{} is whole: continue with --resume", last.path.display()),
            Err(_) => "no checkpoint was written yet".into(),
        }
    }
}
