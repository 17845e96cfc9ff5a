//! Log-probabilities, values and rows of the vocabulary from the last hidden states.

use crate::{DeviceTypes, LogRows, Matrix, Precision, RowGradient, Rows, Slice, SliceMut};

/// The operations of output heads, and their backward passes.
pub trait Readout: DeviceTypes {
    /// Stores the summary of each row of `logits` [R, V] in `summaries`, from index `first` on, and returns the
    /// log-probability of one token per row, nats: \[R\].
    fn log_probs(
        &self,
        logits: Slice<'_, Self>,
        targets: &[u32],
        summaries: &mut Self::RowSummaries,
        first: usize,
    ) -> Vec<f32>;

    /// The entropies of the first `rows` summaries, nats.
    fn entropies(&self, summaries: &Self::RowSummaries, rows: usize) -> Vec<f32>;

    /// `logits` [R, V] ← `scale` times their gradient, from the gradients with respect to each row's
    /// log-probability and entropy. The summaries of the rows begin at index `first`.
    fn log_softmax_backward(
        &self,
        logits: SliceMut<'_, Self>,
        summaries_and_first: (&Self::RowSummaries, usize),
        of_rows: &[RowGradient],
        scale: f32,
    );

    /// One number per row: hidden·w (+ b), for `hidden` [R, D] and `weight` \[D\].
    fn numbers(
        &self,
        hidden: Slice<'_, Self>,
        weight: Slice<'_, Self>,
        bias: Option<Slice<'_, Self>>,
    ) -> Vec<f32>;

    /// The backward pass of [`numbers`](Self::numbers): adds to the gradient of the hidden states, and to that
    /// of the weight if it is trained.
    fn numbers_backward(
        &self,
        of_numbers: &[f32],
        hidden: Slice<'_, Self>,
        weight: Slice<'_, Self>,
        d_hidden: SliceMut<'_, Self>,
        d_weight: Option<SliceMut<'_, Self>>,
    );

    /// Adds the sum of `numbers` to `sum`, a single float.
    fn add_total(&self, numbers: &[f32], sum: SliceMut<'_, Self>);

    /// Lends rows of `vocab` numbers without copying them.
    fn lend<'a>(&self, numbers: Slice<'a, Self>, vocab: usize) -> Rows<'a>;

    /// The rows of `scale`·`a`·`b`, in newly allocated memory.
    fn product_rows(
        &self,
        precision: Precision,
        scale: f32,
        a: Matrix<'_, Self>,
        b: Matrix<'_, Self>,
    ) -> Rows<'static>;

    /// Log-distributions from their scores and the summaries that begin at `first`.
    fn log_rows<'a>(
        &self,
        scores: Rows<'a>,
        summaries: &Self::RowSummaries,
        first: usize,
    ) -> LogRows<'a>;

    /// The backward pass of `scale`·hidden·Wᵀ, for `hidden` [R, D] and W [V, D], from the gradient of its rows:
    /// adds to the gradient of the hidden states, and to that of W if it is trained.
    fn product_rows_backward(
        &self,
        precision_and_scale: (Precision, f32),
        d_rows: &Rows<'_>,
        hidden_and_weight: (Matrix<'_, Self>, Matrix<'_, Self>),
        d_hidden: SliceMut<'_, Self>,
        d_weight: Option<SliceMut<'_, Self>>,
    );
}
