//! What can go wrong with tensors and parameters.

/// An error of this crate; each names the parameter or shape at fault.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No parameter of that name.
    #[error("no parameter named `{0}`")]
    UnknownParameter(String),
    /// Values of the wrong number for a parameter.
    #[error("parameter `{name}` has shape {shape:?} ({expected} values) but was given {got}")]
    WrongLength {
        /// The parameter's name.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
        /// The number of values of that shape.
        expected: usize,
        /// The number of values given.
        got: usize,
    },
    /// An operation that needs gradients or moments on frozen parameters.
    #[error("these parameters are frozen: they have no {0}")]
    Frozen(&'static str),
    /// An error of candle.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
