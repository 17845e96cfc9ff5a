//! Executes the steps of a run, with its journal, progress, checkpoints and interruption.

use crate::state::{remove_old_optimizers, save, save_policy};
use crate::warnings::Warnings;
use crate::{Error, Interrupt, Result, State, WaitInterrupted};
use rlhf_journal::Journal;
use rlhf_objective::{Beta, Network};
use rlhf_policy::Networks;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Instant;

/// The metrics of a step by name.
pub(crate) type Metrics = BTreeMap<&'static str, f64>;

/// The progress of a run after a step.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// The number of steps done.
    pub step: usize,
    /// The number of steps of the run.
    pub total: usize,
    /// The metrics written to `metrics.jsonl`.
    pub metrics: &'a BTreeMap<&'static str, f64>,
    /// Warnings about the step, one sentence each; mostly empty.
    pub warnings: &'a [String],
    /// Tokens per second in this step: sampled response tokens, or network tokens of a batch of a data set.
    pub tokens_per_second: f64,
    /// An estimate of the time left, seconds.
    pub seconds_left: f64,
}

/// Called after each step of a run, to show its progress.
pub trait Observer {
    /// Called when a step is done and its metrics are written.
    fn step(&mut self, progress: &Progress<'_>);
}

/// How a run ended without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All steps are done, and `final/` is written.
    Done,
    /// The run was interrupted and a checkpoint was written. The current step was finished, or discarded if
    /// it was waiting for a reward.
    Interrupted,
}

/// The run folder, the observer, the interrupt and the start of a run.
pub struct Run<'a> {
    /// The run folder.
    pub journal: &'a mut Journal,
    /// Called after each step.
    pub observer: &'a mut dyn Observer,
    /// Another thread can end the run with it after the current step.
    pub interrupt: &'a Interrupt,
    /// The state at the start: [`State::default`], or the one that [`restore`](crate::restore) returned.
    pub start: State,
    /// The number of steps between checkpoints. There is always a checkpoint at the end.
    pub save_every: Option<usize>,
}

/// The results of a step.
#[derive(Debug)]
pub(crate) struct StepResult {
    pub(crate) metrics: Metrics,
    /// Seconds by phase.
    pub(crate) seconds: Metrics,
    pub(crate) tokens: usize,
    pub(crate) beta: Option<Beta>,
    pub(crate) method: Value,
}

/// Whether a step was stopped while it waited for a reward, because the run was interrupted.
fn was_interrupted(error: &Error) -> bool {
    matches!(error, Error::Objective(rlhf_objective::Error::Other(source)) if source.is::<WaitInterrupted>())
}

/// The state after the last step in the journal, as a checkpoint would contain it.
struct Finished {
    state: State,
    /// The version of the weights in that state.
    version: u64,
    /// Whether its checkpoint was written, or writing it failed.
    saved: bool,
}

impl Finished {
    /// Whether the policy in memory has this state: there was no optimizer step since.
    fn is_current(&self, policy: &Networks) -> bool {
        policy.version() == self.version
    }
}

impl Run<'_> {
    /// Executes the steps from `start` to `total` with `work`. If a step fails before its first optimizer
    /// step, a checkpoint of the steps before it is written.
    pub(crate) fn execute(
        &mut self,
        policy: &mut Networks,
        total: usize,
        mut work: impl FnMut(&mut Networks, &mut Journal, usize) -> Result<StepResult>,
    ) -> Result<Ended> {
        if total == 0 {
            return Err(Error::Empty("the run has no steps: its data set is empty"));
        }
        if self.start.step > total {
            let done = self.start.step;
            return Err(Error::Beyond { done, total });
        }
        let mut warnings = self.restore_warnings()?;
        remove_old_optimizers(self.journal, self.start.step)?;
        let began = Instant::now();
        let _current_run = self.interrupt.enter();
        let mut finished = Finished {
            state: self.start.clone(),
            version: policy.version(),
            // The checkpoint that the run resumed from, or a start that needs none.
            saved: true,
        };
        for step in self.start.step..total {
            let at = (step, total);
            let done = self.step(policy, at, began, &mut warnings, &mut finished, &mut work);
            let done = match done {
                Err(source) if was_interrupted(&source) && finished.is_current(policy) => {
                    self.discard_step(policy, &mut finished)
                }
                done => done,
            };
            match done {
                Ok(Ended::Done) => {}
                Ok(Ended::Interrupted) => return Ok(Ended::Interrupted),
                Err(source) => return Err(self.step_error(policy, at, &finished, source)),
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
            left: self.describe_last_checkpoint(),
            source: Box::new(source),
        })
    }

    /// One step with its entries in the journal, and a checkpoint if one is due.
    fn step(
        &mut self,
        policy: &mut Networks,
        (step, total): (usize, usize),
        began: Instant,
        warnings: &mut Warnings,
        finished: &mut Finished,
        work: &mut impl FnMut(&mut Networks, &mut Journal, usize) -> Result<StepResult>,
    ) -> Result<Ended> {
        let step_began = Instant::now();
        let done = work(policy, self.journal, step)?;
        let seconds = step_began.elapsed().as_secs_f64();
        let rate = done.tokens as f64 / seconds;
        let warnings = warnings.check(&done.metrics);
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
        let mut interrupted = self.interrupt.requested();
        let due = self
            .save_every
            .is_some_and(|every| (step + 1).is_multiple_of(every));
        if last || interrupted || due {
            finished.saved = true;
            self.checkpoint(policy, &finished.state)?;
            // The interrupt may have been requested while the checkpoint was written.
            interrupted = self.interrupt.requested();
        }
        Ok(if interrupted && !last {
            Ended::Interrupted
        } else {
            Ended::Done
        })
    }

    /// Ends the run after the last finished step. The current step has changed nothing, so a resumed run
    /// repeats it with the same result.
    fn discard_step(&self, policy: &Networks, finished: &mut Finished) -> Result<Ended> {
        if !finished.saved {
            finished.saved = true;
            self.checkpoint(policy, &finished.state)?;
        }
        Ok(Ended::Interrupted)
    }

    /// Saves the state, and then removes the optimizer's state from older checkpoints, which are no longer
    /// needed to resume.
    fn checkpoint(&self, policy: &Networks, state: &State) -> Result<()> {
        self.interrupt.saving(|| {
            save(policy, self.journal, state)?;
            remove_old_optimizers(self.journal, state.step)
        })
    }

    /// Appends the metrics, times and warnings of a finished step to the journal.
    fn write(
        &mut self,
        step: usize,
        done: &StepResult,
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

    /// The state of the warnings after the steps in the journal.
    fn restore_warnings(&self) -> Result<Warnings> {
        let mut warnings = Warnings::default();
        if self.start.step > 0 {
            for row in rlhf_journal::metrics(self.journal.folder())? {
                let numbers = row
                    .values
                    .iter()
                    .map(|(name, value)| (name.as_str(), *value));
                warnings.check(&numbers.collect());
            }
        }
        Ok(warnings)
    }

    /// The error of a run that fails in a step, after the last finished step is saved if possible.
    fn step_error(
        &self,
        policy: &Networks,
        (step, total): (usize, usize),
        finished: &Finished,
        source: Error,
    ) -> Error {
        Error::Stopped {
            step: step + 1,
            total,
            left: self.save_and_describe(policy, finished, &source),
            source: Box::new(source),
        }
    }

    /// Saves the last finished step if possible, and describes from which checkpoint the run can continue.
    fn save_and_describe(&self, policy: &Networks, finished: &Finished, source: &Error) -> String {
        let step = finished.state.step;
        if matches!(source, Error::Diverged { .. }) {
            // Either the weights before the step have diverged, or those it computed.
            let diverged = step + usize::from(!finished.is_current(policy));
            return self.describe_checkpoint_before(diverged);
        }
        if finished.saved {
            return self.describe_last_checkpoint();
        }
        if !finished.is_current(policy) {
            return format!(
                "the step had already changed the policy, so the steps after the last checkpoint are \
                lost; {}",
                self.describe_last_checkpoint()
            );
        }
        // The optimizer's state of the checkpoint before is kept, because the same error may occur again.
        let saved = self
            .interrupt
            .saving(|| save(policy, self.journal, &finished.state));
        match saved {
            Ok(()) => self.describe_last_checkpoint(),
            Err(error) => format!(
                "the policy after step {step} cannot be saved ({error}); {}",
                self.describe_last_checkpoint()
            ),
        }
    }

    /// Names the last checkpoint before a step whose policy has diverged. It does not suggest to resume: with
    /// the same settings the run would diverge again.
    fn describe_checkpoint_before(&self, step: usize) -> String {
        let all = rlhf_journal::checkpoints(self.journal.folder()).unwrap_or_default();
        match all.iter().rfind(|checkpoint| checkpoint.step < step) {
            Some(last) => format!("the last checkpoint before it is {}", last.path.display()),
            None if all.is_empty() => self.describe_last_checkpoint(),
            None => "there is no earlier checkpoint".into(),
        }
    }

    /// Names the checkpoint from which the run can continue.
    fn describe_last_checkpoint(&self) -> String {
        match rlhf_journal::last_checkpoint(self.journal.folder()) {
            Ok(last) => format!(
                "{} is complete: continue with --resume",
                last.path.display()
            ),
            Err(_) => "no checkpoint was written yet".into(),
        }
    }
}
