//! Prints results to stdout and everything else to stderr, and maps errors to exit codes.

use rlhf_experiment::{Interrupted, Usage, one_line};
use std::fmt;
use std::io::{self, Write};

/// Stdout cannot be written.
#[derive(Debug)]
struct Stdout(io::Error);

impl fmt::Display for Stdout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot write to standard output: {}", self.0)
    }
}

impl std::error::Error for Stdout {}

/// Prints a line to stderr. Write errors are ignored.
pub(crate) fn log(line: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Emits a note for the user, as runs do.
pub(crate) fn note(line: impl fmt::Display) {
    tracing::info!("{line}");
}

/// Prints a line to stdout.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn print(line: impl fmt::Display) -> anyhow::Result<()> {
    printed(|| writeln!(io::stdout().lock(), "{line}"))
}

/// Writes to stdout and flushes it.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn printed(write: impl FnOnce() -> io::Result<()>) -> anyhow::Result<()> {
    let done = write().and_then(|()| io::stdout().flush());
    Ok(done.map_err(Stdout)?)
}

/// The exit code of an error. Prints the error, unless stdout was closed by its reader.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    let full = error.downcast_ref::<Stdout>();
    if full.is_some_and(|full| full.0.kind() == io::ErrorKind::BrokenPipe) {
        // The reader of the output closed the pipe, as `head` does.
        return 0;
    }
    if error.is::<Interrupted>() {
        log(error);
        return 130;
    }
    log(format_args!("error: {}", one_line(error)));
    if error.is::<Usage>() { 2 } else { 1 }
}
