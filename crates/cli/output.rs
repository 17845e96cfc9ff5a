//! Results to stdout, everything else to stderr, and how an error ends the program.

use std::fmt;
use std::io::{self, Write};

/// Bad usage or a bad configuration: exit code 2.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) anyhow::Error);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.0)
    }
}

impl std::error::Error for Usage {}

/// A run stopped by a signal after it saved: exit code 130.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted; everything is saved: continue with --resume")
    }
}

impl std::error::Error for Interrupted {}

/// One line to stderr.
#[allow(clippy::print_stderr)]
pub(crate) fn log(line: impl fmt::Display) {
    eprintln!("{line}");
}

/// One line to stdout.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn print(line: impl fmt::Display) -> anyhow::Result<()> {
    writeln!(io::stdout().lock(), "{line}")?;
    Ok(())
}

/// The exit code that an error means; the error is logged where there is something to say.
pub(crate) fn exit_code(error: &anyhow::Error) -> u8 {
    let pipe = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    if error.downcast_ref::<io::Error>().is_some_and(pipe) {
        // The reader of our output has seen enough.
        return 0;
    }
    if error.is::<Interrupted>() {
        log(error);
        return 130;
    }
    log(format_args!("error: {error:#}"));
    if error.is::<Usage>() { 2 } else { 1 }
}
