//! What is read off the hidden states of the rows that predict: log-probs and entropies from the
//! vocabulary head, values from the value head.

use super::modules::Norm;
use crate::parameters::Number;
use rlhf_device::{Device, Matrix, Precision, RowGradient, Rows, Slice, SliceMut, Stored, Write};
use rlhf_objective::{ActionValues, LogDist};
use rlhf_tensor::{Gradients, ParameterId, Storage, Weights};
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
pub(super) struct Readout<D: Device> {
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
    stream: D::Buffer,
    stats: D::NormStats,
    pub(super) hidden: D::Buffer,
    gradient: D::Buffer,
    stream_gradient: D::Buffer,
    pub(super) logits: D::Buffer,
    summaries: D::RowSummaries,
    rows: usize,
    /// How many of the rows, from the first on, have their logits kept.
    kept: usize,
    /// Of the others, how many have them computed together at most.
    at_once: usize,
    /// Whether the gradient of the hidden states already holds that of some whole rows.
    rows_came_back: bool,
}

impl<D: Device> Readout<D> {
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
            stream: D::Buffer::default(),
            stats: D::NormStats::default(),
            hidden: D::Buffer::default(),
            gradient: D::Buffer::default(),
            stream_gradient: D::Buffer::default(),
            logits: D::Buffer::default(),
            summaries: D::RowSummaries::default(),
            rows: 0,
            kept: 0,
            at_once: 1,
            rows_came_back: false,
        }
    }

    /// The rows of the vocabulary head that are answered about, [V, D].
    pub(super) fn weight<'a>(&self, weights: Weights<'a, D>, head: ParameterId) -> Stored<'a, D> {
        weights.stored(head).part(0..self.vocab * self.width)
    }

    /// logits ← hidden·Wᵀ / temperature.
    fn multiply(&self) -> impl Fn(&D, SliceMut<'_, D>, Slice<'_, D>, Stored<'_, D>) + use<D> {
        let (precision, width, sharpness) = (self.precision, self.width, self.sharpness);
        move |device, logits, hidden, weight| {
            let (hidden, weight) = (Matrix::new(hidden, width), Matrix::new(weight, width).t());
            device.matmul(precision, logits, Write::Over, sharpness, hidden, weight);
        }
    }

    /// Rows whose logits are so many chunks.
    fn rows_of(&self, chunks: usize) -> usize {
        (chunks * self.chunk / self.vocab).max(1)
    }

    /// The rows whose logits are computed together: all that are kept, since a larger product is a
    /// faster one, and even shares of those that are not.
    pub(super) fn pieces(&self) -> impl Iterator<Item = Range<usize>> + use<D> {
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
    pub(super) fn make_room(&mut self, device: &D) {
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
        device.at_least(&mut self.logits, room * self.vocab);
    }

    /// Takes the residual stream of the rows that predict, [N, D], and normalizes it.
    pub(super) fn take(&mut self, weights: Weights<'_, D>, stream: Slice<'_, D>) {
        let device = weights.device();
        self.rows = stream.len() / self.width;
        self.kept = 0;
        self.rows_came_back = false;
        let mut taken = device.at_least(&mut self.stream, stream.len());
        device.copy(stream, taken.reborrow());
        let hidden = device.at_least(&mut self.hidden, stream.len());
        self.norm
            .forward(weights, taken.read(), &mut self.stats, hidden);
    }

    /// The rows after the norm, [N, D].
    pub(super) fn hidden(&self) -> Slice<'_, D> {
        self.hidden_rows(&(0..self.rows))
    }

    /// Some of them.
    fn hidden_rows(&self, rows: &Range<usize>) -> Slice<'_, D> {
        Slice::new(&self.hidden, rows.start * self.width..rows.end * self.width)
    }

    /// Summarizes every row's distribution and answers the log-probs of `targets`.
    pub(super) fn log_probs(&mut self, weights: Weights<'_, D>, targets: &[u32]) -> Vec<f32> {
        let Some(head) = self.vocabulary else {
            return vec![0.0; targets.len()];
        };
        self.make_room(weights.device());
        let mut log_probs = Vec::with_capacity(self.rows);
        for rows in self.pieces() {
            log_probs.extend(self.piece(weights, head, rows, targets));
        }
        log_probs
    }

    /// The log-probs of `targets` in one of the [`pieces`](Self::pieces), whose logits stay until the
    /// next.
    pub(super) fn piece(
        &mut self,
        weights: Weights<'_, D>,
        head: ParameterId,
        rows: Range<usize>,
        targets: &[u32],
    ) -> Vec<f32> {
        let (device, multiply, place) = (weights.device(), self.multiply(), self.place(&rows));
        let hidden = rows.start * self.width..rows.end * self.width;
        let (hidden, weight) = (Slice::new(&self.hidden, hidden), self.weight(weights, head));
        let mut logits = SliceMut::new(&mut self.logits, place);
        multiply(device, logits.reborrow(), hidden, weight);
        let (targets, first) = (&targets[rows.clone()], rows.start);
        device.log_probs(logits.read(), targets, &mut self.summaries, first)
    }

    /// Where the logits of some rows lie, that are all kept or all one of the other pieces.
    fn place(&self, rows: &Range<usize>) -> Range<usize> {
        place(rows, self.kept, self.vocab)
    }

    /// The log-distributions of rows whose logits lie in their place, [rows, V].
    pub(super) fn lent(&self, device: &D, rows: Range<usize>) -> LogDist<'_> {
        let scores = Slice::new(&self.logits, self.place(&rows));
        self.dist(device, device.lend(scores, self.vocab), rows)
    }

    fn dist<'a>(&self, device: &D, scores: Rows<'a>, rows: Range<usize>) -> LogDist<'a> {
        device.log_rows(scores, &self.summaries, rows.start).into()
    }

    /// The entropy of each row's distribution, after [`log_probs`](Self::log_probs).
    pub(super) fn entropies(&self, device: &D) -> Vec<f32> {
        match self.vocabulary {
            Some(_) => device.entropies(&self.summaries, self.rows),
            None => vec![0.0; self.rows],
        }
    }

    /// The value or score of each row, where there is a head for it.
    pub(super) fn numbers(&self, weights: Weights<'_, D>) -> Option<Vec<f32>> {
        let head = self.number?;
        let bias = head.bias.map(|bias| weights.slice(bias));
        let weight = weights.slice(head.weight);
        Some(weights.device().numbers(self.hidden(), weight, bias))
    }

    /// The log-distributions of some rows, [rows, V]: as they are kept, or computed again.
    pub(super) fn log_dist(
        &self,
        weights: Weights<'_, D>,
        head: ParameterId,
        rows: Range<usize>,
    ) -> LogDist<'_> {
        if rows.end <= self.kept {
            return self.lent(weights.device(), rows);
        }
        let scores = self.computed(weights, head, &rows);
        self.dist(weights.device(), scores, rows)
    }

    /// The scores of every token of some rows, [rows, V], as numbers of their own: as they are kept, or
    /// computed again.
    pub(super) fn action_values(
        &self,
        weights: Weights<'_, D>,
        head: ParameterId,
        rows: Range<usize>,
    ) -> ActionValues<'_> {
        if rows.end <= self.kept {
            let kept = Slice::new(&self.logits, self.place(&rows));
            return weights.device().lend(kept, self.vocab).into();
        }
        self.computed(weights, head, &rows).into()
    }

    /// The scores of some rows, computed again.
    fn computed(
        &self,
        weights: Weights<'_, D>,
        head: ParameterId,
        rows: &Range<usize>,
    ) -> Rows<'static> {
        let hidden = Matrix::new(self.hidden_rows(rows), self.width);
        let weight = Matrix::new(self.weight(weights, head), self.width).t();
        let device = weights.device();
        device.product_rows(self.precision, self.sharpness, hidden, weight)
    }

    /// Adds the gradient of some rows' scores, [rows, V], to those of the head and of the hidden states.
    pub(super) fn backward_rows(
        &mut self,
        (weights, gradients): (Weights<'_, D>, &mut Gradients<'_, D>),
        head: ParameterId,
        rows: Range<usize>,
        d_scores: &Rows<'_>,
    ) {
        let (device, width) = (weights.device(), self.width);
        let weight = Matrix::new(self.weight(weights, head), width);
        let mut d_hidden = device.at_least(&mut self.gradient, self.rows * width);
        if !self.rows_came_back {
            device.clear(d_hidden.reborrow());
            self.rows_came_back = true;
        }
        let place = rows.start * width..rows.end * width;
        let hidden = Matrix::new(Slice::new(&self.hidden, place.clone()), width);
        device.product_rows_backward(
            (self.precision, self.sharpness),
            d_scores,
            (hidden, weight),
            d_hidden.part(place),
            gradients
                .slice_mut(head)
                .map(|all| all.part(0..self.vocab * width)),
        );
    }

    /// From the gradients of the outputs to that of the rows of the stream, [N, D].
    pub(super) fn backward(
        &mut self,
        (weights, gradients): (Weights<'_, D>, &mut Gradients<'_, D>),
        of_rows: Option<&[RowGradient]>,
        of_numbers: Option<&[f32]>,
    ) -> SliceMut<'_, D> {
        let (device, size) = (weights.device(), self.rows * self.width);
        match (of_rows, self.vocabulary) {
            (Some(of_rows), Some(head)) => {
                self.backward_vocabulary((weights, gradients), head, of_rows);
            }
            _ if self.rows_came_back => {}
            _ => device.clear(device.at_least(&mut self.gradient, size)),
        }
        self.rows_came_back = false;
        if let (Some(of_numbers), Some(head)) = (of_numbers, self.number) {
            self.backward_numbers((weights, gradients), head, of_numbers);
        }
        let of_norm = (Slice::first(&self.stream, size), &self.stats);
        let d_hidden = Slice::first(&self.gradient, size);
        let mut d_stream = device.at_least(&mut self.stream_gradient, size);
        device.clear(d_stream.reborrow());
        self.norm.backward(
            (weights, gradients),
            of_norm,
            d_hidden,
            d_stream.reborrow(),
            Write::Add,
        );
        d_stream
    }

    /// Overwrites the gradient of the hidden states, or adds to it where whole rows came back before.
    /// Kept logits are consumed.
    fn backward_vocabulary(
        &mut self,
        (weights, gradients): (Weights<'_, D>, &mut Gradients<'_, D>),
        head: ParameterId,
        of_rows: &[RowGradient],
    ) {
        let (device, width) = (weights.device(), self.width);
        let (precision, weight) = (self.precision, self.weight(weights, head));
        let (multiply, pieces) = (self.multiply(), self.pieces());
        let mut d_hidden = device.at_least(&mut self.gradient, self.rows * width);
        let write = if self.rows_came_back {
            Write::Add
        } else {
            Write::Over
        };
        for rows in pieces {
            let place = place(&rows, self.kept, self.vocab);
            let of_hidden = rows.start * width..rows.end * width;
            let hidden = Slice::new(&self.hidden, of_hidden.clone());
            let mut logits = SliceMut::new(&mut self.logits, place);
            if rows.start >= self.kept {
                multiply(device, logits.reborrow(), hidden, weight);
            }
            let (summaries, of_rows) = ((&self.summaries, rows.start), &of_rows[rows]);
            device.log_softmax_backward(logits.reborrow(), summaries, of_rows, self.sharpness);
            let d_logits = Matrix::new(logits.read(), self.vocab);
            let d_hidden = d_hidden.reborrow().part(of_hidden);
            let (weight, hidden) = (Matrix::new(weight, width), Matrix::new(hidden, width));
            device.matmul(precision, d_hidden, write, 1.0, d_logits, weight);
            if let Some(d_weight) = gradients.slice_mut(head) {
                let d_weight = d_weight.part(0..self.vocab * width);
                device.matmul(precision, d_weight, Write::Add, 1.0, d_logits.t(), hidden);
            }
        }
        self.kept = 0;
    }

    /// Adds to the gradient of the hidden states.
    fn backward_numbers(
        &mut self,
        (weights, gradients): (Weights<'_, D>, &mut Gradients<'_, D>),
        head: Number,
        of_numbers: &[f32],
    ) {
        let (device, size) = (weights.device(), self.rows * self.width);
        let d_bias = head.bias.and_then(|bias| gradients.slice_mut(bias));
        if let Some(d_bias) = d_bias {
            device.add_total(of_numbers, d_bias);
        }
        device.numbers_backward(
            of_numbers,
            Slice::first(&self.hidden, size),
            weights.slice(head.weight),
            SliceMut::first(&mut self.gradient, size),
            gradients.slice_mut(head.weight),
        );
    }
}

/// Where the logits of some rows lie, the first `kept` of which have them kept.
fn place(rows: &Range<usize>, kept: usize, vocab: usize) -> Range<usize> {
    let start = rows.start.min(kept) * vocab;
    start..start + rows.len() * vocab
}
