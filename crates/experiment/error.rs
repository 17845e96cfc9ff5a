//! Error types that the program maps to exit codes, and one-line formatting of errors.

use std::fmt;
use std::fmt::Write as _;

/// An error in settings or arguments, which the user has to correct.
#[derive(Debug)]
pub struct Usage(pub anyhow::Error);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&one_line(&self.0))
    }
}

impl std::error::Error for Usage {}

/// A run was interrupted and ended after saving its state.
#[derive(Debug)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted; everything is saved: continue with --resume")
    }
}

impl std::error::Error for Interrupted {}

/// An error and its causes in one line. A cause whose text the error already contains is left out.
#[must_use]
pub fn one_line(error: &anyhow::Error) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;
    use std::io;

    #[test]
    fn an_error_is_one_line_without_repetition() {
        let full = || io::Error::from_raw_os_error(28);
        let twice = Err::<(), _>(full()).context(format!("run/final: {}", full()));
        assert_eq!(
            one_line(&twice.unwrap_err()),
            "run/final: No space left on device (os error 28)"
        );
        let once = Err::<(), _>(full()).context("cannot save\n  the model\n");
        assert_eq!(
            one_line(&once.unwrap_err()),
            "cannot save the model: No space left on device (os error 28)"
        );
    }
}
