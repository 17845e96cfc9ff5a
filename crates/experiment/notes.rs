//! What is said while a run is prepared and made: events of `tracing`, for whoever listens.

use std::fmt;

/// A sentence for the user.
pub(crate) fn note(line: impl fmt::Display) {
    tracing::info!("{line}");
}

/// A sentence that the user should not miss.
pub(crate) fn warn(line: impl fmt::Display) {
    tracing::warn!("{line}");
}
