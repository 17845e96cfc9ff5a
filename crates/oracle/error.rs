//! The error type of this crate.

/// An error in the definition of a problem.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An invalid value.
    #[error("{place}: {what}")]
    Problem {
        /// The key, prefix, response or state.
        place: String,
        /// The problem, and the valid values.
        what: String,
    },
    /// Not JSON, or not of the expected form.
    #[error("cannot parse the problem: {0}")]
    Json(#[from] serde_json::Error),
}

impl Error {
    pub(crate) fn at(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self::Problem {
            place: place.into(),
            what: what.into(),
        }
    }
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Checks that a temperature is a positive number.
pub(crate) fn check_positive(place: &str, value: f64) -> Result<()> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(Error::at(
        place,
        format!("is {value}; it must be a positive number"),
    ))
}
