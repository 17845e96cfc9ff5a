//! The interface of decoders, which generate responses token by token.

use crate::{Draw, Error, LogDist, Result};

/// A prompt to decode from.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// The prompt's tokens.
    pub prompt: &'a [u32],
    /// How many rows (samples) continue it. The forward pass over the prompt runs once for all of them.
    pub samples: usize,
    /// The maximum number of new tokens of each row.
    pub max_new_tokens: usize,
}

/// A batch of growing sequences with their KV caches. The policy and the priors implement it, so that one
/// sampler works with all of them. Rows can be added, duplicated and removed at any time.
pub trait Decoder {
    /// V.
    fn vocab(&self) -> usize;

    /// Runs the prompts and appends their rows (in order, the samples of a prompt adjacent) after the
    /// live ones.
    ///
    /// # Errors
    /// If a token is not in the vocabulary, or a prompt with its new tokens exceeds the context.
    fn start(&mut self, prompts: &[Start<'_>]) -> Result<()>;

    /// How many rows are live.
    fn rows(&self) -> usize;

    /// The log-distribution of each live row over its next token: [rows, V], nats. The rows stay on the
    /// device, where a sampler draws from them.
    ///
    /// # Errors
    /// If there are no live rows.
    fn log_dist(&self) -> Result<LogDist<'_>>;

    /// Chooses the next token of each live row, as [`LogDist::draw`] does; the token is not appended. A
    /// decoder that cannot hold the distributions of all rows at once computes those of some at a time.
    ///
    /// # Errors
    /// As [`log_dist`](Self::log_dist), or if there is not one uniform number per row.
    fn draw(&mut self, uniforms: &[f64], draw: Draw) -> Result<Vec<(u32, f32)>> {
        self.log_dist()?.draw(uniforms, draw)
    }

    /// Appends one token to each live row and computes the next scores.
    ///
    /// # Errors
    /// If there is not one token per row, or one is not in the vocabulary.
    fn step(&mut self, tokens: &[u32]) -> Result<()>;

    /// Replaces row i by row `rows[i]`, with its cache and its log-distribution. Rows that are not listed
    /// are removed; rows listed several times are duplicated, as beam search and particle filters need.
    ///
    /// # Errors
    /// If there is no such row; the decoder is then unchanged.
    fn gather(&mut self, rows: &[usize]) -> Result<()>;
}

/// Checks the argument of [`Decoder::gather`].
///
/// # Errors
/// If one is not among its `live` rows.
pub fn check_gather(rows: &[usize], live: usize) -> Result<()> {
    match rows.iter().find(|&&row| row >= live) {
        Some(row) => Err(Error::Unsupported(format!(
            "row {row} cannot be gathered: the decoder has {live} rows, counted from 0"
        ))),
        None => Ok(()),
    }
}

/// The listed rows of `numbers`, [rows, V]: [`Decoder::gather`] for numbers on the host.
#[must_use]
pub fn gathered(numbers: &[f32], vocab: usize, rows: &[usize]) -> Vec<f32> {
    let row = |&row: &usize| &numbers[row * vocab..][..vocab];
    rows.iter().flat_map(row).copied().collect()
}
