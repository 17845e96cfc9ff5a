//! The scores of the next tokens of a decoder's rows. Where all of them are too many to be held, final hidden
//! states are kept instead, and scores are computed for some rows at a time as tokens are drawn: memory
//! does not grow with rows × vocabulary.

use super::{CHUNK, SCORED_CHUNKS};
use rlhf_device::{Device, Epilogue, LogRows, Matrix, Precision, Slice, Stored, Write};
use rlhf_objective::{Draw, LogDist, Result};
use std::ops::Range;

/// The vocabulary head of a decoder.
#[derive(Debug)]
pub(super) struct Head<'a, D: Device> {
    pub(super) device: &'a D,
    /// [D, V].
    pub(super) packed: &'a D::Packed,
    /// The weight as it is stored, [V, D].
    pub(super) weight: Stored<'a, D>,
    pub(super) precision: Precision,
    pub(super) width: usize,
    pub(super) vocab: usize,
    /// What logits are multiplied by: 1 / temperature.
    pub(super) sharpness: f32,
}

impl<D: Device> Head<'_, D> {
    /// `scores` [n, V] ← those of `hidden` [n, D].
    fn score(&self, hidden: Slice<'_, D>, scores: &mut D::Buffer, memory: &mut D::Buffer) {
        let epilogue = Epilogue {
            bias: None,
            scale: self.sharpness,
            write: Write::Over,
        };
        let n = hidden.len() / self.width;
        let scores = self.device.at_least(scores, n * self.vocab);
        let device = self.device;
        device.multiply_packed(hidden, self.packed, epilogue, memory, scores);
    }
}

/// What is known of the next token of each of R rows.
#[derive(Debug)]
pub(super) struct NextScores<D: Device> {
    rows: usize,
    /// Final hidden states, [R, D].
    hidden: D::Buffer,
    /// The scores of all rows, [R, V], where they are held; else memory for those of some.
    scores: D::Buffer,
    held: bool,
    /// The scores of prompts, before they are copied to their rows.
    by_prompt: D::Buffer,
    /// The most scores that are held, in floats.
    pub(super) most: usize,
}

impl<D: Device> NextScores<D> {
    pub(super) fn new() -> Self {
        Self {
            rows: 0,
            hidden: D::Buffer::default(),
            scores: D::Buffer::default(),
            held: true,
            by_prompt: D::Buffer::default(),
            most: SCORED_CHUNKS * CHUNK,
        }
    }

    fn fit(&self, rows: usize, vocab: usize) -> bool {
        rows * vocab <= self.most
    }

    fn hidden(&self, rows: Range<usize>, width: usize) -> Slice<'_, D> {
        Slice::new(&self.hidden, rows.start * width..rows.end * width)
    }

    /// Takes the hidden states of all rows after a step, [R, D].
    pub(super) fn replace(
        &mut self,
        head: &Head<'_, D>,
        hidden: Slice<'_, D>,
        memory: &mut D::Buffer,
    ) {
        self.rows = hidden.len() / head.width;
        let kept = head.device.at_least(&mut self.hidden, hidden.len());
        head.device.copy(hidden, kept);
        self.held = self.fit(self.rows, head.vocab);
        if self.held {
            head.score(hidden, &mut self.scores, memory);
        }
    }

    /// Adds rows behind those that are there: `prompt_of` says which of the `hidden` states [P, D] each has.
    pub(super) fn append(
        &mut self,
        head: &Head<'_, D>,
        hidden: Slice<'_, D>,
        prompt_of: &[usize],
        memory: &mut D::Buffer,
    ) {
        let (device, width, vocab) = (head.device, head.width, head.vocab);
        let (old, new) = (self.rows, self.rows + prompt_of.len());
        device.grow(&mut self.hidden, old * width, new * width);
        let added = device.at_least(&mut self.hidden, new * width);
        device.gather_rows(prompt_of, hidden, added.part(old * width..new * width));
        self.rows = new;
        self.held &= self.fit(new, vocab);
        if !self.held {
            return;
        }
        head.score(hidden, &mut self.by_prompt, memory);
        device.grow(&mut self.scores, old * vocab, new * vocab);
        let added = device.at_least(&mut self.scores, new * vocab);
        let added = added.part(old * vocab..new * vocab);
        let by_prompt = Slice::first(&self.by_prompt, hidden.len() / width * vocab);
        device.gather_rows(prompt_of, by_prompt, added);
    }

    /// Makes row i what row `rows[i]` was.
    pub(super) fn gather(&mut self, head: &Head<'_, D>, rows: &[usize], memory: &mut D::Buffer) {
        let device = head.device;
        device.keep_rows(&mut self.hidden, head.width, rows);
        self.rows = rows.len();
        if self.held && self.fit(rows.len(), head.vocab) {
            device.keep_rows(&mut self.scores, head.vocab, rows);
            return;
        }
        self.held = self.fit(rows.len(), head.vocab);
        if self.held {
            let hidden = Slice::first(&self.hidden, self.rows * head.width);
            device.run(|| head.score(hidden, &mut self.scores, memory));
        }
    }

    /// The distributions of all rows, lent where they are held and computed where not.
    pub(super) fn log_dist(&self, head: &Head<'_, D>) -> LogDist<'_> {
        if self.held {
            let scores = Slice::first(&self.scores, self.rows * head.vocab);
            return LogRows::of_scores(head.device.lend(scores, head.vocab)).into();
        }
        let hidden = Matrix::new(self.hidden(0..self.rows, head.width), head.width);
        let weight = Matrix::new(head.weight, head.width).t();
        let (precision, sharpness) = (head.precision, head.sharpness);
        let rows = head
            .device
            .product_rows(precision, sharpness, hidden, weight);
        LogRows::of_scores(rows).into()
    }

    /// Draws a token of each row. Scores that are held are read where they lie: only products are a pass that
    /// is worth handing to the device.
    pub(super) fn draw(
        &mut self,
        head: &Head<'_, D>,
        uniforms: &[f64],
        draw: Draw,
        memory: &mut D::Buffer,
    ) -> Result<Vec<(u32, f32)>> {
        if self.held {
            return self.log_dist(head).draw(uniforms, draw);
        }
        let step = (self.most / head.vocab).max(1);
        let mut drawn = Vec::with_capacity(self.rows);
        for start in (0..self.rows).step_by(step) {
            let rows = start..self.rows.min(start + step);
            let size = rows.len() * head.vocab;
            let hidden = rows.start * head.width..rows.end * head.width;
            let hidden = Slice::new(&self.hidden, hidden);
            head.device
                .run(|| head.score(hidden, &mut self.scores, memory));
            let scores = head
                .device
                .lend(Slice::first(&self.scores, size), head.vocab);
            let dist: LogDist<'_> = LogRows::of_scores(scores).into();
            drawn.extend(dist.draw(&uniforms[rows], draw)?);
        }
        Ok(drawn)
    }
}
