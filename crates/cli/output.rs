//! Results to stdout, everything else to stderr, and how an error ends the program.

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

/// One line to stderr. Where that is closed or full there is nobody to tell.
pub(crate) fn log(line: impl fmt::Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// A sentence for the user, as one of those that runs say.
pub(crate) fn note(line: impl fmt::Display) {
    tracing::info!("{line}");
}

/// One line to stdout.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn print(line: impl fmt::Display) -> anyhow::Result<()> {
    printed(|| writeln!(io::stdout().lock(), "{line}"))
}

/// Writes to stdout, to the last byte.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn printed(write: impl FnOnce() -> io::Result<()>) -> anyhow::Result<()> {
    let done = write().and_then(|()| io::stdout().flush());
    Ok(done.map_err(Stdout)?)
}

/// The exit code that an error means; the error is logged where there is something to say.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    let full = error.downcast_ref::<Stdout>();
    if full.is_some_and(|full| full.0.kind() == io::ErrorKind::BrokenPipe) {
        // The reader of our output has seen enough.
        return 0;
    }
    if error.is::<Interrupted>() {
        log(error);
        return 130;
    }
    log(format_args!("error: {}", one_line(error)));
    if error.is::<Usage>() { 2 } else { 1 }
}
