//! What is computed from the last hidden states: log-probabilities, values, rows of the vocabulary.

use crate::{DeviceTypes, LogRows, Matrix, Precision, RowGradient, Rows, Slice, SliceMut};

/// What heads compute, and its backward pass.
pub trait Readout: DeviceTypes {
    /// Summarizes each row of `logits` [R, V] at `first` and the places behind it, and answers the
    /// log-probability of one token a row, nats: \[R\].
    fn log_probs(
        &self,
        logits: Slice<'_, Self>,
        targets: &[u32],
        summaries: &mut Self::RowSummaries,
        first: usize,
    ) -> Vec<f32>;

    /// The entropies of the first `rows` rows that were summarized, nats.
    fn entropies(&self, summaries: &Self::RowSummaries, rows: usize) -> Vec<f32>;

    /// `logits` [R, V] ← their gradient times `scale`, from those of each row's log-probability and
    /// entropy. The rows' summaries begin at `first`.
    fn log_softmax_backward(
        &self,
        logits: SliceMut<'_, Self>,
        summaries_and_first: (&Self::RowSummaries, usize),
        of_rows: &[RowGradient],
        scale: f32,
    );

    /// One number a row: hidden·w (+ b), for `hidden` [R, D] and `weight` \[D\].
    fn numbers(
        &self,
        hidden: Slice<'_, Self>,
        weight: Slice<'_, Self>,
        bias: Option<Slice<'_, Self>>,
    ) -> Vec<f32>;

    /// From the gradients of these numbers: adds to that of the hidden states, and to that of the weight
    /// where it is trained.
    fn numbers_backward(
        &self,
        of_numbers: &[f32],
        hidden: Slice<'_, Self>,
        weight: Slice<'_, Self>,
        d_hidden: SliceMut<'_, Self>,
        d_weight: Option<SliceMut<'_, Self>>,
    );

    /// Adds the sum of `numbers` to the one float of `sum`.
    fn add_total(&self, numbers: &[f32], sum: SliceMut<'_, Self>);

    /// Lends rows of `vocab` numbers as they lie.
    fn lend<'a>(&self, numbers: Slice<'a, Self>, vocab: usize) -> Rows<'a>;

    /// The rows of `scale`·`a`·`b`, in memory of their own.
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

    /// From the gradient of the rows of `scale`·hidden·Wᵀ, for `hidden` [R, D] and W [V, D]: adds to that
    /// of the hidden states, and to that of W where it is trained.
    fn product_rows_backward(
        &self,
        precision_and_scale: (Precision, f32),
        d_rows: &Rows<'_>,
        hidden_and_weight: (Matrix<'_, Self>, Matrix<'_, Self>),
        d_hidden: SliceMut<'_, Self>,
        d_weight: Option<SliceMut<'_, Self>>,
    );
}
