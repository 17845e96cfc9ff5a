//! Results to stdout, everything else to stderr, and how an error ends the program.

use std::fmt;
use std::fmt::Write as _;
use std::io::{self, Write};

/// Bad usage or a bad configuration: exit code 2.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) anyhow::Error);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&said(&self.0))
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

/// An error and its causes in one line. A cause that an error has told already is not told again.
pub(crate) fn said(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        let words: Vec<&str> = cause.split_whitespace().collect();
        let cause = words.join(" ");
        if line.is_empty() {
            line = cause;
        } else if !line.contains(&cause) {
            let _ = write!(line, ": {cause}");
        }
    }
    line
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
    log(format_args!("error: {}", said(error)));
    if error.is::<Usage>() { 2 } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn an_error_is_one_line_and_tells_nothing_twice() {
        let full = || io::Error::from_raw_os_error(28);
        let twice = Err::<(), _>(full()).context(format!("run/final: {}", full()));
        assert_eq!(
            said(&twice.unwrap_err()),
            "run/final: No space left on device (os error 28)"
        );
        let once = Err::<(), _>(full()).context("cannot save\n  the model\n");
        assert_eq!(
            said(&once.unwrap_err()),
            "cannot save the model: No space left on device (os error 28)"
        );
    }
}
