//! Checks of the shapes of rows.

use crate::{Error, Result};

/// Checks that `got` is a multiple of V.
pub(crate) fn check_whole_rows(what: &'static str, got: usize, vocab: usize) -> Result<()> {
    if vocab > 0 && got.is_multiple_of(vocab) {
        return Ok(());
    }
    Err(Error::Size {
        what,
        expected: got.checked_div(vocab).unwrap_or(0) * vocab,
        got,
    })
}

pub(crate) fn check_vocab(got: usize, expected: usize) -> Result<()> {
    if got == expected {
        return Ok(());
    }
    Err(Error::Size {
        what: "vocabulary entries",
        expected,
        got,
    })
}

pub(crate) fn check_rows(got: usize, expected: usize) -> Result<()> {
    if got == expected {
        return Ok(());
    }
    Err(Error::Size {
        what: "rows of log-distributions",
        expected,
        got,
    })
}

pub(crate) fn check_tokens(tokens: &[u32], rows: usize, vocab: usize) -> Result<()> {
    check_rows(tokens.len(), rows)?;
    match tokens.iter().find(|token| **token as usize >= vocab) {
        None => Ok(()),
        Some(token) => Err(Error::Unsupported(format!(
            "token {token} is not in the vocabulary of {vocab}"
        ))),
    }
}
