//! [`Readout`] of the processor: each operation is a kernel of the folder above.

use crate::cpu::{self, Cpu, RowSummary, View};
use crate::{LogRows, Matrix, Precision, Readout, RowGradient, Rows, Slice, SliceMut, Write};

impl Readout for Cpu {
    fn log_probs(
        &self,
        logits: Slice<'_, Self>,
        targets: &[u32],
        summaries: &mut Vec<RowSummary>,
        first: usize,
    ) -> Vec<f32> {
        if targets.is_empty() {
            return Vec::new();
        }
        let (logits, vocab) = (logits.host(), logits.len() / targets.len());
        let end = first + targets.len();
        if summaries.len() < end {
            summaries.resize(end, RowSummary::default());
        }
        let summaries = &mut summaries[first..end];
        cpu::summarize_rows(logits, vocab, summaries);
        let rows = logits.chunks_exact(vocab).zip(summaries).zip(targets);
        rows.map(|((logits, row), target)| logits[*target as usize] - row.log_sum)
            .collect()
    }

    fn entropies(&self, summaries: &Vec<RowSummary>, rows: usize) -> Vec<f32> {
        summaries[..rows].iter().map(|row| row.entropy).collect()
    }

    fn log_softmax_backward(
        &self,
        logits: SliceMut<'_, Self>,
        (summaries, first): (&Vec<RowSummary>, usize),
        of_rows: &[RowGradient],
        scale: f32,
    ) {
        if of_rows.is_empty() {
            return;
        }
        let (summaries, vocab) = (
            &summaries[first..][..of_rows.len()],
            logits.len() / of_rows.len(),
        );
        cpu::log_softmax_backward(logits.host(), vocab, summaries, of_rows, scale);
    }

    fn numbers(
        &self,
        hidden: Slice<'_, Self>,
        weight: Slice<'_, Self>,
        bias: Option<Slice<'_, Self>>,
    ) -> Vec<f32> {
        let (weight, bias) = (weight.host(), bias.map_or(0.0, |bias| bias.host()[0]));
        let rows = hidden.host().chunks_exact(weight.len());
        rows.map(|row| cpu::dot_rows(row, weight) + bias).collect()
    }

    fn numbers_backward(
        &self,
        of_numbers: &[f32],
        hidden: Slice<'_, Self>,
        weight: Slice<'_, Self>,
        d_hidden: SliceMut<'_, Self>,
        d_weight: Option<SliceMut<'_, Self>>,
    ) {
        let (hidden, weight) = (hidden.host(), weight.host());
        let rows = d_hidden.host().chunks_exact_mut(weight.len());
        for (d_hidden, g) in rows.zip(of_numbers) {
            add_scaled(d_hidden, *g, weight);
        }
        if let Some(d_weight) = d_weight {
            let d_weight = d_weight.host();
            for (hidden, g) in hidden.chunks_exact(weight.len()).zip(of_numbers) {
                add_scaled(d_weight, *g, hidden);
            }
        }
    }

    fn add_total(&self, numbers: &[f32], sum: SliceMut<'_, Self>) {
        let sum = &mut sum.host()[0];
        numbers.iter().for_each(|x| *sum += x);
    }

    fn lend<'a>(&self, numbers: Slice<'a, Self>, vocab: usize) -> Rows<'a> {
        Rows::new(numbers.host(), vocab)
    }

    fn product_rows(
        &self,
        precision: Precision,
        scale: f32,
        a: Matrix<'_, Self>,
        b: Matrix<'_, Self>,
    ) -> Rows<'static> {
        let (a, b) = (a.host(), b.host());
        let mut rows = vec![0.0; a.rows() * b.columns()];
        cpu::matmul(precision, &mut rows, Write::Over, scale, a, b);
        Rows::new(rows, b.columns())
    }

    fn log_rows<'a>(
        &self,
        scores: Rows<'a>,
        summaries: &Vec<RowSummary>,
        first: usize,
    ) -> LogRows<'a> {
        let log_sums = summaries[first..][..scores.rows()].iter();
        let log_sums = log_sums.map(|row| row.log_sum).collect();
        LogRows::new(scores, log_sums)
    }

    fn product_rows_backward(
        &self,
        (precision, scale): (Precision, f32),
        d_rows: &Rows<'_>,
        (hidden, weight): (Matrix<'_, Self>, Matrix<'_, Self>),
        d_hidden: SliceMut<'_, Self>,
        d_weight: Option<SliceMut<'_, Self>>,
    ) {
        let d_rows = View::new(d_rows.host(), d_rows.vocab());
        let (hidden, weight, d_hidden) = (hidden.host(), weight.host(), d_hidden.host());
        cpu::matmul(precision, d_hidden, Write::Add, scale, d_rows, weight);
        if let Some(d_weight) = d_weight {
            let d_weight = d_weight.host();
            cpu::matmul(precision, d_weight, Write::Add, scale, d_rows.t(), hidden);
        }
    }
}

/// `to` += `by`·`x`.
fn add_scaled(to: &mut [f32], by: f32, x: &[f32]) {
    to.iter_mut().zip(x).for_each(|(sum, x)| *sum += by * x);
}
