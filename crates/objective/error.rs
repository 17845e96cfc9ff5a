//! The error type of this crate and of implementations of its traits.

use rlhf_tensor::CandleError;

/// An error of the objective, or of an implementation of a prior, reward or network.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Two sizes that must be equal differ.
    #[error("{what}: expected {expected}, got {got}")]
    Size {
        /// What was measured.
        what: &'static str,
        /// The size it should have.
        expected: usize,
        /// The size it has.
        got: usize,
    },
    /// A prompt or a response without tokens.
    #[error("{0}")]
    Empty(String),
    /// A number that must be finite is not.
    #[error("{what} of sequence {sequence} is {value}: {fix}")]
    NotFinite {
        /// What was computed.
        what: &'static str,
        /// Which response, counted from 0.
        sequence: usize,
        /// The number.
        value: f64,
        /// What to do about it.
        fix: &'static str,
    },
    /// An implementation of a trait fails a check of [`conformance`](crate::conformance).
    #[error("conformance check failed: {property}; {found}")]
    Conformance {
        /// The property that must hold.
        property: &'static str,
        /// What was found.
        found: String,
    },
    /// A call that a network or prior does not support, or not in its current state.
    #[error("{0}")]
    Unsupported(String),
    /// An error of a tensor operation.
    #[error(transparent)]
    Tensor(#[from] CandleError),
    /// An error of a network, prior or reward.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// Wraps the error of an implementation of a trait.
    pub fn other(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Other(Box::new(error))
    }
}

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;
