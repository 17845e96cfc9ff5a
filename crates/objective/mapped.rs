//! A decoder that says something else than the one inside.

use crate::{Decoder, Result, Start};

/// Another decoder, each row of its scores changed by a function: one policy or prior made of another,
/// token by token.
pub struct MappedDecoder<'a, F> {
    decoder: Box<dyn Decoder + 'a>,
    change: F,
    scores: Vec<f32>,
}

impl<'a, F: FnMut(&mut [f32])> MappedDecoder<'a, F> {
    /// `change` is given the scores of one row, `[V]`.
    pub fn new(decoder: Box<dyn Decoder + 'a>, change: F) -> Self {
        Self {
            decoder,
            change,
            scores: Vec::new(),
        }
    }

    fn refresh(&mut self) {
        self.scores.clear();
        self.scores.extend_from_slice(self.decoder.scores());
        let rows = self.scores.chunks_mut(self.decoder.vocab());
        rows.for_each(&mut self.change);
    }
}

impl<F: FnMut(&mut [f32])> Decoder for MappedDecoder<'_, F> {
    fn vocab(&self) -> usize {
        self.decoder.vocab()
    }

    fn start(&mut self, prompts: &[Start<'_>]) -> Result<()> {
        self.decoder.start(prompts)?;
        self.refresh();
        Ok(())
    }

    fn rows(&self) -> usize {
        self.decoder.rows()
    }

    fn scores(&self) -> &[f32] {
        &self.scores
    }

    fn step(&mut self, tokens: &[u32]) -> Result<()> {
        self.decoder.step(tokens)?;
        self.refresh();
        Ok(())
    }

    fn retain(&mut self, keep: &[bool]) -> Result<()> {
        self.decoder.retain(keep)?;
        self.refresh();
        Ok(())
    }
}
