//! The error type of this crate.

use std::path::PathBuf;

/// An error of a run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A loss, gradient or metric that is not finite. Another step would make the weights NaN.
    #[error(
        "{what} is {value}: lower optim.learning_rate, or check the rewards and the data of that step"
    )]
    NotFinite {
        /// What was computed.
        what: &'static str,
        /// Its value.
        value: f64,
    },
    /// A weight, moment or output of the policy that is not finite. Such a policy is not saved.
    #[error("{what} is {value}: the policy has diverged; lower optim.learning_rate")]
    Diverged {
        /// What was computed.
        what: String,
        /// Its value.
        value: f64,
    },
    /// A step failed. The last checkpoint is complete.
    #[error("in step {step} of {total}: {source}; {left}")]
    Stopped {
        /// The step that failed, counted from 1.
        step: usize,
        /// The number of steps of the run.
        total: usize,
        /// From which checkpoint the run can continue.
        left: String,
        /// The error of the step.
        source: Box<Self>,
    },
    /// The final model cannot be written. All steps are done, and the last checkpoint is complete.
    #[error("all steps are done, and the final model cannot be written: {source}; {left}")]
    Final {
        /// From which checkpoint the run can continue.
        left: String,
        /// The error of the step.
        source: Box<Self>,
    },
    /// A resumed run has done more steps than its settings have now.
    #[error(
        "the run has done {done} steps, but its settings and data now give only {total}: resume it with the \
        settings and data it was started with, or start another run"
    )]
    Beyond {
        /// How many steps are done.
        done: usize,
        /// How many steps the settings and data give.
        total: usize,
    },
    /// A run without steps or prompts.
    #[error("{0}")]
    Empty(&'static str),
    /// A checkpoint's `trainer.json` that cannot be read.
    #[error("{path}: {message}")]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The state of the method in a checkpoint belongs to another method.
    #[error(
        "the checkpoint holds the state of another method: {0}; resume it with the method that wrote it"
    )]
    MethodState(#[source] serde_json::Error),
    /// An error of the objective, a network, a prior or a reward.
    #[error(transparent)]
    Objective(#[from] rlhf_objective::Error),
    /// The policy cannot be saved.
    #[error("the policy cannot be saved: {0}")]
    Save(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The optimizer's state cannot be saved or restored.
    #[error(transparent)]
    Optimizer(#[from] rlhf_policy::SnapshotError),
    /// The run folder cannot be written.
    #[error(transparent)]
    Journal(#[from] rlhf_journal::Error),
}

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;
