//! A decoder whose scores are changed by a function, like a logits processor.

use crate::{Decoder, LogDist, Result, Start};

/// Wraps a decoder and applies a function to each row of its scores before every token.
pub struct MappedDecoder<'a, F> {
    decoder: Box<dyn Decoder + 'a>,
    change: F,
    scores: Vec<f32>,
}

impl<'a, F: FnMut(&mut [f32])> MappedDecoder<'a, F> {
    /// `change` is called with the scores of one row, `[V]`, and changes them in place.
    pub fn new(decoder: Box<dyn Decoder + 'a>, change: F) -> Self {
        Self {
            decoder,
            change,
            scores: Vec::new(),
        }
    }

    fn refresh(&mut self) -> Result<()> {
        self.decoder.log_dist()?.copy_scores(&mut self.scores);
        let rows = self.scores.chunks_mut(self.decoder.vocab());
        rows.for_each(&mut self.change);
        Ok(())
    }
}

impl<F: FnMut(&mut [f32])> Decoder for MappedDecoder<'_, F> {
    fn vocab(&self) -> usize {
        self.decoder.vocab()
    }

    fn start(&mut self, prompts: &[Start<'_>]) -> Result<()> {
        self.decoder.start(prompts)?;
        self.refresh()
    }

    fn rows(&self) -> usize {
        self.decoder.rows()
    }

    fn log_dist(&self) -> Result<LogDist<'_>> {
        LogDist::of_scores(&self.scores[..], self.vocab())
    }

    fn step(&mut self, tokens: &[u32]) -> Result<()> {
        self.decoder.step(tokens)?;
        self.refresh()
    }

    fn gather(&mut self, rows: &[usize]) -> Result<()> {
        self.decoder.gather(rows)?;
        self.refresh()
    }
}
