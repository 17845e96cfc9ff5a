//! What is read off the hidden states of the rows that predict: log-probs and entropies from the
//! vocabulary head, values from the value head.

use super::modules::Norm;
use crate::bodies::gpt2::Number;
use rlhf_objective::{ActionValues, LogDist, Result};
use rlhf_tensor::cpu::{
    Buffer, Numbers, Precision, RowGradient, RowStats, RowSummary, View, Write, dot_rows,
    log_softmax_backward, matmul, summarize_rows,
};
use rlhf_tensor::{Gradients, ParameterId, Storage, Weights};
use std::borrow::Cow;
use std::ops::Range;

/// Logits computed at a time beside those that are kept, in floats (64 MiB).
pub(crate) const CHUNK: usize = 1 << 24;
/// Chunks that are kept of a read by a frozen network, or computed at a time.
pub(crate) const SCORED_CHUNKS: usize = 2;
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
    /// Floats of a chunk of logits.
    pub(super) chunk: usize,
    /// Whether this network is trained, and so reads to train.
    pub(super) trained: bool,
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
    /// Of the others, how many have them computed together at most.
    at_once: usize,
    /// Whether the gradient of the hidden states already holds that of some whole rows.
    rows_came_back: bool,
}

impl Readout {
    pub(super) fn new(
        norm: Norm,
        vocabulary: Option<ParameterId>,
        number: Option<Number>,
        (vocab, width): (usize, usize),
        temperature: f64,
        precision: Precision,
        storage: Storage,
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
            trained: storage.is_trainable(),
            stream: Buffer::default(),
            stats: Vec::new(),
            hidden: Buffer::default(),
            gradient: Buffer::default(),
            stream_gradient: Buffer::default(),
            logits: Buffer::default(),
            summaries: Vec::new(),
            rows: 0,
            kept: 0,
            at_once: 1,
            rows_came_back: false,
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

    /// Rows whose logits are so many chunks.
    fn rows_of(&self, chunks: usize) -> usize {
        (chunks * self.chunk / self.vocab).max(1)
    }

    /// The rows whose logits are computed together: all that are kept, since a larger product is a
    /// faster one, and even shares of those that are not.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (n, kept) = (self.rows, self.kept);
        let count = (n - kept).div_ceil(self.at_once);
        let step = (n - kept).div_ceil(count.max(1)).max(1);
        let kept_rows = (kept > 0).then_some(0..kept);
        let shares = (kept..n).step_by(step);
        kept_rows
            .into_iter()
            .chain(shares.map(move |start| start..(start + step).min(n)))
    }

    /// Sees to it that there is room for the logits of the rows that were taken, and says which are
    /// kept. Of a network that is trained the first of them, as many as there is room for, also where it
    /// only scores, so that both cut its products alike; of a frozen one those of few.
    pub(super) fn make_room(&mut self) {
        let n = self.rows;
        (self.kept, self.at_once) = match self.trained {
            true => (n.min(self.rows_of(KEPT_CHUNKS)), self.rows_of(1)),
            false => {
                let most = self.rows_of(SCORED_CHUNKS);
                (if n <= most { n } else { 0 }, most)
            }
        };
        let largest = self.pieces().map(|rows| rows.len());
        // Those that are not kept take turns behind those that are.
        let turns = largest.skip(usize::from(self.kept > 0)).max();
        let room = self.kept + turns.unwrap_or(0);
        self.logits.at_least(room * self.vocab);
        self.summaries.resize(n, RowSummary::default());
    }

    /// Takes the residual stream of the rows that predict, [N, D], and normalizes it.
    pub(super) fn take(&mut self, weights: Weights<'_>, stream: &[f32]) {
        self.rows = stream.len() / self.width;
        self.kept = 0;
        self.rows_came_back = false;
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
    pub(super) fn log_probs(&mut self, weights: Weights<'_>, targets: &[u32]) -> Vec<f32> {
        let Some(head) = self.vocabulary else {
            return vec![0.0; targets.len()];
        };
        self.make_room();
        let mut log_probs = Vec::with_capacity(self.rows);
        for rows in self.pieces() {
            log_probs.extend(self.piece(weights.matrix(head), rows, targets));
        }
        log_probs
    }

    /// The log-probs of `targets` in one of the [`pieces`](Self::pieces), whose logits stay until the
    /// next.
    pub(super) fn piece(
        &mut self,
        head: Numbers<'_>,
        rows: Range<usize>,
        targets: &[u32],
    ) -> Vec<f32> {
        let (vocab, multiply, place) = (self.vocab, self.multiply(), self.place(&rows));
        let logits = &mut self.logits[place];
        let hidden = &self.hidden[rows.start * self.width..rows.end * self.width];
        multiply(logits, hidden, head);
        let summaries = &mut self.summaries[rows.clone()];
        summarize_rows(logits, vocab, summaries);
        let found = logits
            .chunks_exact(vocab)
            .zip(summaries)
            .zip(&targets[rows]);
        let log_prob = |((x, row), target): ((&[f32], &mut RowSummary), &u32)| {
            x[*target as usize] - row.log_sum
        };
        found.map(log_prob).collect()
    }

    /// Where the logits of some rows lie, that are all kept or all one of the other pieces.
    fn place(&self, rows: &Range<usize>) -> Range<usize> {
        let start = rows.start.min(self.kept) * self.vocab;
        start..start + rows.len() * self.vocab
    }

    /// The log-distributions of rows whose logits lie in their place, [rows, V].
    pub(super) fn lent(&self, rows: Range<usize>) -> Result<LogDist<'_>> {
        let logits = &self.logits[self.place(&rows)];
        self.dist(logits.into(), rows)
    }

    fn dist<'a>(&self, logits: Cow<'a, [f32]>, rows: Range<usize>) -> Result<LogDist<'a>> {
        let log_sums = self.summaries[rows].iter().map(|row| row.log_sum);
        LogDist::new(logits, log_sums.collect(), self.vocab)
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

    /// The log-distributions of some rows, [rows, V]: as they are kept, or computed again.
    pub(super) fn log_dist(&self, head: Numbers<'_>, rows: Range<usize>) -> Result<LogDist<'_>> {
        if rows.end <= self.kept {
            return self.lent(rows);
        }
        self.dist(self.computed(head, &rows).into(), rows)
    }

    /// The scores of every token of some rows, [rows, V], as numbers of their own: as they are kept, or
    /// computed again.
    pub(super) fn action_values(
        &self,
        head: Numbers<'_>,
        rows: Range<usize>,
    ) -> Result<ActionValues<'_>> {
        if rows.end <= self.kept {
            return ActionValues::new(&self.logits[self.place(&rows)], self.vocab);
        }
        ActionValues::new(self.computed(head, &rows), self.vocab)
    }

    /// The scores of some rows, computed again.
    fn computed(&self, head: Numbers<'_>, rows: &Range<usize>) -> Vec<f32> {
        let mut logits = vec![0.0; rows.len() * self.vocab];
        let hidden = &self.hidden[rows.start * self.width..rows.end * self.width];
        self.multiply()(&mut logits, hidden, head);
        logits
    }

    /// Adds the gradient of some rows' scores, [rows, V], to those of the head and of the hidden states.
    pub(super) fn backward_rows(
        &mut self,
        weights: Weights<'_>,
        gradients: &mut Gradients<'_>,
        head: ParameterId,
        rows: Range<usize>,
        d_scores: &[f32],
    ) {
        let (width, precision, sharpness) = (self.width, self.precision, self.sharpness);
        let d_hidden = self.gradient.at_least(self.rows * width);
        if !self.rows_came_back {
            d_hidden.fill(0.0);
            self.rows_came_back = true;
        }
        let place = rows.start * width..rows.end * width;
        let d_scores = View::new(d_scores, self.vocab);
        let hidden = View::new(&self.hidden[place.clone()], width);
        let weight = View::of(weights.matrix(head), width);
        let d_weight = gradients.get_mut(head);
        matmul(
            precision,
            &mut d_hidden[place],
            Write::Add,
            sharpness,
            d_scores,
            weight,
        );
        matmul(
            precision,
            d_weight,
            Write::Add,
            sharpness,
            d_scores.t(),
            hidden,
        );
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
            _ if self.rows_came_back => {}
            _ => self.gradient.at_least(size).fill(0.0),
        }
        self.rows_came_back = false;
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

    /// Overwrites the gradient of the hidden states, or adds to it where whole rows came back before.
    /// Kept logits are consumed.
    fn backward_vocabulary(
        &mut self,
        weights: Weights<'_>,
        gradients: &mut Gradients<'_>,
        head: ParameterId,
        of_rows: &[RowGradient],
    ) {
        let (vocab, width) = (self.vocab, self.width);
        let weight = weights.matrix(head);
        let (multiply, pieces) = (self.multiply(), self.pieces());
        self.gradient.at_least(self.rows * width);
        let write = if self.rows_came_back {
            Write::Add
        } else {
            Write::Over
        };
        let d_weight = gradients.get_mut(head);
        for rows in pieces {
            let hidden = &self.hidden[rows.start * width..rows.end * width];
            let place = self.place(&rows);
            let logits = &mut self.logits[place];
            if rows.start >= self.kept {
                multiply(logits, hidden, weight);
            }
            let summaries = &self.summaries[rows.clone()];
            let of_rows = &of_rows[rows.clone()];
            log_softmax_backward(logits, vocab, summaries, of_rows, self.sharpness);
            let d_logits = View::new(logits, vocab);
            let d_hidden = &mut self.gradient[rows.start * width..rows.end * width];
            let (weight, hidden) = (View::of(weight, width), View::new(hidden, width));
            let precision = self.precision;
            matmul(precision, d_hidden, write, 1.0, d_logits, weight);
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
