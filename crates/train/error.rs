//! What can go wrong while training.

use std::path::PathBuf;

/// An error of a run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A number that ends a run: going on would spoil the weights.
    #[error(
        "{what} is {value}: lower optim.learning_rate, or look at the rewards and the data of that step"
    )]
    NotFinite {
        /// What was computed.
        what: &'static str,
        /// Its value.
        value: f64,
    },
    /// A number of the policy itself that is not finite: its weights are of no use and are not saved.
    #[error("{what} is {value}: the policy has diverged; lower optim.learning_rate")]
    Diverged {
        /// What was computed.
        what: String,
        /// Its value.
        value: f64,
    },
    /// What ended a run before its end. The last checkpoint is whole.
    #[error("in step {step} of {total}: {source}; {left}")]
    Stopped {
        /// The step, counted from 1.
        step: usize,
        /// All steps.
        total: usize,
        /// What is left of the run.
        left: String,
        /// What happened.
        source: Box<Self>,
    },
    /// The final model cannot be written. Every step is done, and the last checkpoint is whole.
    #[error("all steps are done, and the final model cannot be written: {source}; {left}")]
    Final {
        /// What is left of the run.
        left: String,
        /// What happened.
        source: Box<Self>,
    },
    /// A run that is resumed beyond the last step that its settings ask for now.
    #[error(
        "{done} steps are done, and settings and data ask for {total} now: nothing is left to train; give it \
         the settings and data that it was started with, or start another run"
    )]
    Beyond {
        /// How many steps are done.
        done: usize,
        /// How many there are.
        total: usize,
    },
    /// A run with nothing to do.
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
    /// A state of a method that does not fit the method.
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

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
