//! Notes and warnings for the user, as `tracing` events.

use std::fmt;

/// Receives remarks about the data of a run: notes them, or drops those that were noted before.
pub(crate) type Remarks<'a> = &'a mut dyn FnMut(String);

/// Emits a note for the user.
pub(crate) fn note(line: impl fmt::Display) {
    tracing::info!("{line}");
}

/// Emits a warning for the user.
pub(crate) fn warn(line: impl fmt::Display) {
    tracing::warn!("{line}");
}
