//! Decoding by the plain network.

use super::Plain;
use crate::Packed;
use crate::preconditions::{check_rows, check_start};
use rlhf_objective::{Decoder, LogDist, Result, Start, check_gather, gathered};
use rlhf_tensor::{Device, Tensor};

/// Decoding without a cache: every step reads every row from its start.
pub(super) struct PlainDecoder<'a> {
    network: &'a Plain,
    /// What each row has read and been given.
    rows: Vec<Vec<u32>>,
    scores: Vec<f32>,
}

impl<'a> PlainDecoder<'a> {
    pub(super) fn new(network: &'a Plain) -> Self {
        Self {
            network,
            rows: Vec::new(),
            scores: Vec::new(),
        }
    }

    fn refresh(&mut self) -> Result<()> {
        self.scores.clear();
        if self.rows.is_empty() {
            return Ok(());
        }
        let spec = &self.network.spec;
        let packed = Packed::histories(&self.rows, self.network.outputs, spec.context)?;
        let logits = self.network.logits(&packed, &mut |_, _| ())?;
        let last: Vec<u32> = packed.rows.iter().map(|row| *row as u32).collect();
        let last = Tensor::from_slice(&last, last.len(), &Device::Cpu)?;
        self.scores = logits.index_select(&last, 0)?.flatten_all()?.to_vec1()?;
        Ok(())
    }
}

impl Decoder for PlainDecoder<'_> {
    fn vocab(&self) -> usize {
        self.network.outputs
    }

    fn start(&mut self, prompts: &[Start<'_>]) -> Result<()> {
        for start in prompts {
            check_start(start, self.network.spec.context)?;
            self.rows
                .extend(std::iter::repeat_n(start.prompt.to_vec(), start.samples));
        }
        self.refresh()
    }

    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn log_dist(&self) -> Result<LogDist<'_>> {
        LogDist::of_scores(&self.scores[..], self.vocab())
    }

    fn step(&mut self, tokens: &[u32]) -> Result<()> {
        check_rows("tokens of a decoding step", self.rows.len(), tokens.len())?;
        for (row, token) in self.rows.iter_mut().zip(tokens) {
            row.push(*token);
        }
        self.refresh()
    }

    fn gather(&mut self, rows: &[usize]) -> Result<()> {
        check_gather(rows, self.rows.len())?;
        self.scores = gathered(&self.scores, self.vocab(), rows);
        self.rows = rows.iter().map(|&row| self.rows[row].clone()).collect();
        Ok(())
    }
}
