//! Whether a network can answer what it is asked: the same checks for every implementation.

use crate::{Error, OutputHeads};
use rlhf_objective::{OutputGrads, Purpose, Result, RowGradients, Start};
use rlhf_tensor::Storage;

/// Whether there is a vocabulary head to ask.
pub(crate) fn check_language(heads: OutputHeads) -> Result<()> {
    match heads.has_vocabulary() {
        true => Ok(()),
        false => Err(no_vocabulary()),
    }
}

/// The error of asking a critic or a reward model for a distribution.
pub(crate) fn no_vocabulary() -> rlhf_objective::Error {
    let why = "a critic of its own or a reward model answers numbers, not tokens";
    rlhf_objective::Error::Unsupported(why.into())
}

/// The error of a question before the first read.
pub(crate) fn no_forward_pass() -> rlhf_objective::Error {
    rlhf_objective::Error::Unsupported("the network has not read a batch yet".into())
}

/// Whether a backward pass may follow.
pub(crate) fn check_trainable(purpose: Purpose, storage: Storage) -> Result<()> {
    if purpose == Purpose::Score || !storage.is_trainable() {
        let why = "no backward pass: the batch was read to score, or the parameters are frozen";
        return Err(rlhf_objective::Error::Unsupported(why.into()));
    }
    Ok(())
}

/// Whether a range of response tokens is among the `n` of the last read.
pub(crate) fn check_range(rows: &std::ops::Range<usize>, n: usize) -> Result<()> {
    match rows.start <= rows.end && rows.end <= n {
        true => Ok(()),
        false => Err(rlhf_objective::Error::Size {
            what: "response tokens of the last read",
            expected: n,
            got: rows.end.max(rows.start),
        }),
    }
}

/// Whether the weights are those that the last read saw.
pub(crate) fn check_weights(read: u64, now: u64) -> Result<()> {
    match read == now {
        true => Ok(()),
        false => {
            let why = "the weights have moved since the batch was read: read it again";
            Err(rlhf_objective::Error::Unsupported(why.into()))
        }
    }
}

/// Whether a prompt and what it may grow to fit.
pub(crate) fn check_start(start: &Start<'_>, context: usize) -> Result<()> {
    let new = start.max_new_tokens.saturating_sub(1);
    let read = start.prompt.len().saturating_add(new);
    if start.prompt.is_empty() || read > context {
        return Err(Error::Batch(format!(
            "a prompt of {} tokens with {} new ones does not fit the context of {context}: lower \
             max_new_tokens or shorten the prompt",
            start.prompt.len(),
            start.max_new_tokens
        ))
        .into());
    }
    Ok(())
}

/// Whether gradients of whole rows fit a range of the `n` response tokens of the last read, in a
/// vocabulary of `vocab`.
pub(crate) fn check_row_gradients(
    rows: &std::ops::Range<usize>,
    gradients: &RowGradients,
    n: usize,
    vocab: usize,
) -> Result<()> {
    check_range(rows, n)?;
    check_rows("gradients of rows", rows.len(), gradients.rows())?;
    check_rows("vocabulary entries of gradients", vocab, gradients.vocab())
}

/// Whether there is one item a row.
pub(crate) fn check_rows(what: &'static str, expected: usize, got: usize) -> Result<()> {
    if expected == got {
        Ok(())
    } else {
        Err(rlhf_objective::Error::Size {
            what,
            expected,
            got,
        })
    }
}

/// The gradient of what the head of one number answered: values, or a reward model's scores.
pub(crate) fn of_numbers(gradients: &OutputGrads, heads: OutputHeads) -> &Option<Vec<f32>> {
    match heads {
        OutputHeads::Score => &gradients.scores,
        _ => &gradients.values,
    }
}
