//! What makes a problem malformed.

/// An error in the statement of a problem.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A number that cannot be used.
    #[error("{place}: {what}")]
    Problem {
        /// The key, prefix, response or state at fault.
        place: String,
        /// What is wrong and what would be right.
        what: String,
    },
    /// Not JSON, or not of the expected form.
    #[error("the problem cannot be read: {0}")]
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

/// Refuses a temperature that is not a positive number.
pub(crate) fn positive(place: &str, value: f64) -> Result<()> {
    if value.is_finite() && value > 0.0 {
        return Ok(());
    }
    Err(Error::at(
        place,
        format!("is {value}; it must be a positive number"),
    ))
}
