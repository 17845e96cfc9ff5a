//! What is read off the hidden states of the rows that predict: log-probs and entropies from the
//! vocabulary head, values from the value head.

use super::modules::Norm;
use crate::bodies::gpt2::Number;
use rlhf_objective::Purpose;
use rlhf_tensor::cpu::{
    Buffer, Numbers, Precision, RowGradient, RowStats, RowSummary, View, Write, dot_rows,
    log_softmax_backward, log_softmax_rows, matmul, summarize_rows,
};
use rlhf_tensor::{Gradients, ParameterId, Weights};
use std::ops::Range;

/// Logits computed at a time, in floats (64 MiB).
pub(crate) const CHUNK: usize = 1 << 24;
/// Logits kept from the forward pass, in floats (384 MiB): the loss, and so their gradient, is known
/// only after it. Those of rows beyond are computed again.
pub(crate) const KEPT: usize = KEPT_CHUNKS * CHUNK;
const KEPT_CHUNKS: usize = 6;

/// The final norm and the heads, and the memory they compute in.
#[derive(Debug)]
pub(super) struct Readout {
    pub(super) norm: Norm,
    /// The vocabulary head [V, D], if it is asked for.
    pub(super) vocabulary: Option<ParameterId>,
    /// The value head or a reward model's.
    pub(super) number: Option<Number>,
    pub(super) width: usize,
    pub(super) vocab: usize,
    /// What the products of the vocabulary head are computed in.
    pub(super) precision: Precision,
    /// What logits are multiplied by: 1 / temperature.
    pub(super) sharpness: f32,
    /// Floats of logits computed at a time.
    pub(super) chunk: usize,
    /// The residual stream of the rows that predict, [N, D], and its norm.
    stream: Buffer,
    stats: Vec<RowStats>,
    pub(super) hidden: Buffer,
    gradient: Buffer,
    stream_gradient: Buffer,
    pub(super) logits: Buffer,
    summaries: Vec<RowSummary>,
    rows: usize,
    /// How many of the rows, from the first on, have their logits kept.
    kept: usize,
}

impl Readout {
    pub(super) fn new(
        norm: Norm,
        vocabulary: Option<ParameterId>,
        number: Option<Number>,
        (vocab, width): (usize, usize),
        temperature: f64,
        precision: Precision,
    ) -> Self {
        Self {
            norm,
            vocabulary,
            number,
            width,
            vocab,
            precision,
            sharpness: (1.0 / temperature) as f32,
            chunk: CHUNK,
            stream: Buffer::default(),
            stats: Vec::new(),
            hidden: Buffer::default(),
            gradient: Buffer::default(),
            stream_gradient: Buffer::default(),
            logits: Buffer::default(),
            summaries: Vec::new(),
            rows: 0,
            kept: 0,
        }
    }

    /// logits ← hidden·Wᵀ / temperature.
    fn multiply(&self) -> impl Fn(&mut [f32], &[f32], Numbers<'_>) + use<> {
        let (precision, width, sharpness) = (self.precision, self.width, self.sharpness);
        move |logits, hidden, weight| {
            let (hidden, weight) = (View::new(hidden, width), View::of(weight, width).t());
            matmul(precision, logits, Write::Over, sharpness, hidden, weight);
        }
    }

    /// Rows of logits computed at a time.
    fn chunk_rows(&self) -> usize {
        (self.chunk / self.vocab).max(1)
    }

    /// The rows whose logits are computed together: all that are kept, since a larger product is a
    /// faster one, and chunks of those that are not.
    fn pieces(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (n, kept, step) = (self.rows, self.kept, self.chunk_rows());
        let kept_rows = (kept > 0).then_some(0..kept);
        let chunks = (kept..n).step_by(step);
        kept_rows
            .into_iter()
            .chain(chunks.map(move |start| start..(start + step).min(n)))
    }

    /// How many of `n` rows have their logits kept: to train all, or whole chunks; else those of
    /// few, for whom whole distributions may be asked.
    fn keep(&self, n: usize, purpose: Purpose) -> usize {
        let most = |chunks: usize| chunks * self.chunk / self.vocab;
        match purpose {
            Purpose::Train if n > most(KEPT_CHUNKS) => {
                most(KEPT_CHUNKS) / self.chunk_rows() * self.chunk_rows()
            }
            Purpose::Score if n > most(2) => 0,
            _ => n,
        }
    }

    /// Takes the residual stream of the rows that predict, [N, D], and normalizes it.
    pub(super) fn take(&mut self, weights: Weights<'_>, stream: &[f32]) {
        self.rows = stream.len() / self.width;
        self.kept = 0;
        let taken = self.stream.at_least(stream.len());
        taken.copy_from_slice(stream);
        self.stats.resize(self.rows, RowStats::default());
        let hidden = self.hidden.at_least(stream.len());
        self.norm.forward(weights, taken, &mut self.stats, hidden);
    }

    /// The rows after the norm, [N, D].
    pub(super) fn hidden(&self) -> &[f32] {
        &self.hidden[..self.rows * self.width]
    }

    /// Summarizes every row's distribution and answers the log-probs of `targets`.
    pub(super) fn log_probs(
        &mut self,
        weights: Weights<'_>,
        targets: &[u32],
        purpose: Purpose,
    ) -> Vec<f32> {
        let Some(head) = self.vocabulary else {
            return vec![0.0; targets.len()];
        };
        let (n, vocab, multiply) = (self.rows, self.vocab, self.multiply());
        let (step, kept) = (self.chunk_rows(), self.keep(n, purpose));
        self.kept = kept;
        let pieces = self.pieces();
        // The chunks that are not kept take turns behind those that are.
        let all = self.logits.at_least((kept + step.min(n - kept)) * vocab);
        self.summaries.resize(n, RowSummary::default());
        let mut log_probs = Vec::with_capacity(n);
        for rows in pieces {
            let at = rows.start.min(kept) * vocab;
            let logits = &mut all[at..at + rows.len() * vocab];
            let hidden = &self.hidden[rows.start * self.width..rows.end * self.width];
            multiply(logits, hidden, weights.matrix(head));
            let summaries = &mut self.summaries[rows.clone()];
            summarize_rows(logits, vocab, summaries);
            let found = logits
                .chunks_exact(vocab)
                .zip(summaries)
                .zip(&targets[rows]);
            log_probs.extend(found.map(|((x, row), target)| x[*target as usize] - row.log_sum));
        }
        log_probs
    }

    /// The entropy of each row's distribution, after [`log_probs`](Self::log_probs).
    pub(super) fn entropies(&self) -> Vec<f32> {
        match self.vocabulary {
            Some(_) => self.summaries.iter().map(|row| row.entropy).collect(),
            None => vec![0.0; self.rows],
        }
    }

    /// The value or score of each row, where there is a head for it.
    pub(super) fn numbers(&self, weights: Weights<'_>) -> Option<Vec<f32>> {
        let head = self.number?;
        let weight = weights.get(head.weight);
        let bias = head.bias.map_or(0.0, |bias| weights.get(bias)[0]);
        let rows = self.hidden().chunks_exact(self.width);
        Some(rows.map(|row| dot_rows(row, weight) + bias).collect())
    }

    /// The log-distributions of some rows, [rows, V]; `None` without a vocabulary head.
    pub(super) fn log_dist(&self, weights: Weights<'_>, rows: Range<usize>) -> Option<Vec<f32>> {
        let head = self.vocabulary?;
        let range = rows.start * self.vocab..rows.end * self.vocab;
        let mut logits = if rows.end <= self.kept {
            self.logits[range].to_vec()
        } else {
            let mut logits = vec![0.0; range.len()];
            let hidden = &self.hidden[rows.start * self.width..rows.end * self.width];
            self.multiply()(&mut logits, hidden, weights.matrix(head));
            logits
        };
        log_softmax_rows(&mut logits, self.vocab, &self.summaries[rows]);
        Some(logits)
    }

    /// From the gradients of the outputs to that of the rows of the stream, [N, D].
    pub(super) fn backward(
        &mut self,
        weights: Weights<'_>,
        gradients: &mut Gradients<'_>,
        of_rows: Option<&[RowGradient]>,
        of_numbers: Option<&[f32]>,
    ) -> &mut [f32] {
        let size = self.rows * self.width;
        match (of_rows, self.vocabulary) {
            (Some(of_rows), Some(head)) => {
                self.backward_vocabulary(weights, gradients, head, of_rows);
            }
            _ => self.gradient.at_least(size).fill(0.0),
        }
        if let (Some(of_numbers), Some(head)) = (of_numbers, self.number) {
            self.backward_numbers(weights, gradients, head, of_numbers);
        }
        let (stream, hidden_gradient) = (&self.stream[..size], &self.gradient[..size]);
        let d_stream = self.stream_gradient.at_least(size);
        d_stream.fill(0.0);
        let of_norm = (stream, &self.stats[..self.rows]);
        self.norm
            .backward((weights, gradients), of_norm, hidden_gradient, d_stream);
        d_stream
    }

    /// Overwrites the gradient of the hidden states. Kept logits are consumed.
    fn backward_vocabulary(
        &mut self,
        weights: Weights<'_>,
        gradients: &mut Gradients<'_>,
        head: ParameterId,
        of_rows: &[RowGradient],
    ) {
        let (n, vocab, width) = (self.rows, self.vocab, self.width);
        let weight = weights.matrix(head);
        let (multiply, pieces) = (self.multiply(), self.pieces());
        let d_hidden = self.gradient.at_least(n * width);
        let d_weight = gradients.get_mut(head);
        for rows in pieces {
            let hidden = &self.hidden[rows.start * width..rows.end * width];
            let at = rows.start.min(self.kept) * vocab;
            let logits = &mut self.logits[at..at + rows.len() * vocab];
            if rows.start >= self.kept {
                multiply(logits, hidden, weight);
            }
            let summaries = &self.summaries[rows.clone()];
            let of_rows = &of_rows[rows.clone()];
            log_softmax_backward(logits, vocab, summaries, of_rows, self.sharpness);
            let d_logits = View::new(logits, vocab);
            let d_hidden = &mut d_hidden[rows.start * width..rows.end * width];
            let (weight, hidden) = (View::of(weight, width), View::new(hidden, width));
            let precision = self.precision;
            matmul(precision, d_hidden, Write::Over, 1.0, d_logits, weight);
            matmul(precision, d_weight, Write::Add, 1.0, d_logits.t(), hidden);
        }
        self.kept = 0;
    }

    /// Adds to the gradient of the hidden states.
    fn backward_numbers(
        &mut self,
        weights: Weights<'_>,
        gradients: &mut Gradients<'_>,
        head: Number,
        of_numbers: &[f32],
    ) {
        let size = self.rows * self.width;
        let weight = weights.get(head.weight);
        if let Some(bias) = head.bias {
            let d_bias = &mut gradients.get_mut(bias)[0];
            of_numbers.iter().for_each(|g| *d_bias += g);
        }
        let d_weight = gradients.get_mut(head.weight);
        let rows = self.gradient[..size].chunks_exact_mut(self.width);
        let rows = rows.zip(self.hidden[..size].chunks_exact(self.width));
        for ((d_hidden, hidden), g) in rows.zip(of_numbers) {
            d_hidden
                .iter_mut()
                .zip(weight)
                .for_each(|(d, w)| *d += g * w);
            d_weight
                .iter_mut()
                .zip(hidden)
                .for_each(|(d, h)| *d += g * h);
        }
    }
}
