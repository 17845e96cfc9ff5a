//! The decoder of a mean of two priors.

use crate::mean::{Mean, normalize};
use rlhf_objective::{Decoder, Error, LogDist, Result, Start};

/// Steps two decoders together, and computes the mean of each row.
pub(crate) struct MixtureDecoder<'a> {
    first: Box<dyn Decoder + 'a>,
    second: Box<dyn Decoder + 'a>,
    /// The mean at the first token.
    mean: Mean,
    /// The current mean of each row.
    means: Vec<Mean>,
    /// The log-distributions of both, and of their mean: each [rows, V].
    rows: [Vec<f32>; 3],
}

impl<'a> MixtureDecoder<'a> {
    pub(crate) fn new(
        first: Box<dyn Decoder + 'a>,
        second: Box<dyn Decoder + 'a>,
        mean: Mean,
    ) -> Result<Self> {
        let (expected, got) = (first.vocab(), second.vocab());
        if expected != got {
            return Err(Error::Size {
                what: "vocabulary entries of the second prior of a mixture",
                expected,
                got,
            });
        }
        Ok(Self {
            first,
            second,
            mean,
            means: Vec::new(),
            rows: Default::default(),
        })
    }

    /// Mixes the current rows of the two.
    fn mix(&mut self) -> Result<()> {
        let vocab = self.first.vocab();
        let [first, second, mixed] = &mut self.rows;
        for (rows, decoder) in [(&mut *first, &self.first), (&mut *second, &self.second)] {
            decoder.log_dist()?.copy_scores(rows);
            rows.chunks_mut(vocab).for_each(normalize);
        }
        mixed.resize(first.len(), 0.0);
        let pairs = first.chunks(vocab).zip(second.chunks(vocab));
        for ((out, (a, b)), mean) in mixed.chunks_mut(vocab).zip(pairs).zip(&self.means) {
            mean.row(a, b, out);
        }
        Ok(())
    }
}

impl Decoder for MixtureDecoder<'_> {
    fn vocab(&self) -> usize {
        self.first.vocab()
    }

    fn start(&mut self, prompts: &[Start<'_>]) -> Result<()> {
        self.first.start(prompts)?;
        self.second.start(prompts)?;
        self.means.resize(self.first.rows(), self.mean);
        self.mix()
    }

    fn rows(&self) -> usize {
        self.means.len()
    }

    fn log_dist(&self) -> Result<LogDist<'_>> {
        LogDist::of_scores(&self.rows[2][..], self.vocab())
    }

    fn step(&mut self, tokens: &[u32]) -> Result<()> {
        self.first.step(tokens)?;
        self.second.step(tokens)?;
        let vocab = self.vocab();
        for (row, (mean, &token)) in self.means.iter_mut().zip(tokens).enumerate() {
            let of = |rows: &[f32]| f64::from(rows[row * vocab + token as usize]);
            *mean = mean.after(of(&self.rows[0]), of(&self.rows[1]));
        }
        self.mix()
    }

    fn gather(&mut self, rows: &[usize]) -> Result<()> {
        self.first.gather(rows)?;
        self.second.gather(rows)?;
        self.means = rows.iter().map(|&row| self.means[row]).collect();
        self.mix()
    }
}
