//! The error type of this crate.

/// An error of this crate; each names the parameter or shape at fault.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No parameter of that name.
    #[error("no parameter named `{0}`")]
    UnknownParameter(String),
    /// The number of values does not match the parameter's shape.
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
    /// The weights of this parameter are shared with other tables.
    #[error("parameter `{0}` is shared with other networks and cannot be written")]
    Shared(String),
    /// Gradients or moments were requested of frozen parameters.
    #[error("frozen parameters have no {0}")]
    Frozen(&'static str),
    /// An error of candle.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// The result type of this crate.
pub type Result<T> = std::result::Result<T, Error>;
