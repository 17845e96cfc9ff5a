//! How responses are decoded, token by token.

use crate::{Draw, Error, LogDist, Result};

/// A prompt to decode from.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// The prompt's tokens.
    pub prompt: &'a [u32],
    /// How many rows continue it; the prompt itself is read once.
    pub samples: usize,
    /// The most tokens each row will take.
    pub max_new_tokens: usize,
}

/// A batch of growing sequences with their caches: the policy, every prior and every mixture decode
/// through this, so one sampler serves them all. Rows may enter, branch and leave at any time.
pub trait Decoder {
    /// V.
    fn vocab(&self) -> usize;

    /// Reads prompts and appends their rows (in order, a prompt's samples side by side) behind the
    /// live ones.
    ///
    /// # Errors
    /// If a token is not in the vocabulary, or a prompt with its new tokens exceeds the context.
    fn start(&mut self, prompts: &[Start<'_>]) -> Result<()>;

    /// How many rows are live.
    fn rows(&self) -> usize;

    /// The log-distribution of each live row over its next token, where it was computed: [rows, V],
    /// nats. A sampler draws from it there.
    ///
    /// # Errors
    /// If there are no rows to show.
    fn log_dist(&self) -> Result<LogDist<'_>>;

    /// Chooses the next token of each live row, as [`LogDist::draw`] does; the token is not appended. A
    /// decoder that cannot hold the distributions of all rows at once computes those of some at a time.
    ///
    /// # Errors
    /// As [`log_dist`](Self::log_dist), or if there is not one uniform number a row.
    fn draw(&mut self, uniforms: &[f64], draw: Draw) -> Result<Vec<(u32, f32)>> {
        self.log_dist()?.draw(uniforms, draw)
    }

    /// Appends one token to each live row and computes the next scores.
    ///
    /// # Errors
    /// If there is not one token a row, or one is not in the vocabulary.
    fn step(&mut self, tokens: &[u32]) -> Result<()>;

    /// Makes row i what row `rows[i]` was, with its cache and its log-distribution. A row that is left
    /// out is dropped; one that is named several times is continued several times, as searches and
    /// particle filters do.
    ///
    /// # Errors
    /// If there is no such row. Nothing has changed then.
    fn gather(&mut self, rows: &[usize]) -> Result<()>;
}

/// Checks the rows that a decoder is to gather.
///
/// # Errors
/// If one is not among its `live` rows.
pub fn check_gather(rows: &[usize], live: usize) -> Result<()> {
    match rows.iter().find(|&&row| row >= live) {
        Some(row) => Err(Error::Unsupported(format!(
            "row {row} of a decoder is to be gathered, and it has {live} rows, counted from 0"
        ))),
        None => Ok(()),
    }
}

/// What `rows` name, of V numbers each: the host's half of [`Decoder::gather`].
#[must_use]
pub fn gathered(numbers: &[f32], vocab: usize, rows: &[usize]) -> Vec<f32> {
    let row = |&row: &usize| &numbers[row * vocab..][..vocab];
    rows.iter().flat_map(row).copied().collect()
}
