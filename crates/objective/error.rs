//! What can go wrong between the symbols.

use rlhf_tensor::CandleError;

/// An error of the objective, or of a prior, reward or network behind its traits.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Two things that should be of one size are not.
    #[error("{what}: expected {expected}, got {got}")]
    Size {
        /// What was measured.
        what: &'static str,
        /// The size it should have.
        expected: usize,
        /// The size it has.
        got: usize,
    },
    /// A prompt without tokens, or a response without any.
    #[error("{0}")]
    Empty(String),
    /// A number that must be finite and is not.
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
    /// A law that an implementation of a trait breaks; see [`laws`](crate::laws).
    #[error("a law is broken: {law}; {found}")]
    Law {
        /// What must hold.
        law: &'static str,
        /// What was found.
        found: String,
    },
    /// Something asked of a network or prior out of turn or that it cannot do.
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
    /// Wraps the error of an implementation.
    pub fn other(error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Other(Box::new(error))
    }
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
