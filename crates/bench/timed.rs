//! A decoder that says where its time goes.

use rlhf_objective::{Decoder, Draw, LogDist, Result, Start};
use std::time::Instant;

/// Another decoder, with a clock.
pub(crate) struct Timed<'a> {
    decoder: Box<dyn Decoder + 'a>,
    /// Seconds spent reading prompts, and single tokens.
    pub(crate) starts: f64,
    pub(crate) steps: f64,
}

impl<'a> Timed<'a> {
    pub(crate) fn new(decoder: Box<dyn Decoder + 'a>) -> Self {
        Self {
            decoder,
            starts: 0.0,
            steps: 0.0,
        }
    }
}

impl Decoder for Timed<'_> {
    fn vocab(&self) -> usize {
        self.decoder.vocab()
    }

    fn start(&mut self, prompts: &[Start<'_>]) -> Result<()> {
        let since = Instant::now();
        let done = self.decoder.start(prompts);
        self.starts += since.elapsed().as_secs_f64();
        done
    }

    fn rows(&self) -> usize {
        self.decoder.rows()
    }

    fn log_dist(&self) -> Result<LogDist<'_>> {
        self.decoder.log_dist()
    }

    fn draw(&mut self, uniforms: &[f64], draw: Draw) -> Result<Vec<(u32, f32)>> {
        self.decoder.draw(uniforms, draw)
    }

    fn step(&mut self, tokens: &[u32]) -> Result<()> {
        let since = Instant::now();
        let done = self.decoder.step(tokens);
        self.steps += since.elapsed().as_secs_f64();
        done
    }

    fn gather(&mut self, rows: &[usize]) -> Result<()> {
        self.decoder.gather(rows)
    }
}
