//! The processor as a [`Device`]: each operation is a kernel of this folder.

use super::{
    Attended as HostAttended, Buffer, Cache, CachedRow as HostRow, Epilogue as HostEpilogue,
    Numbers, NumbersMut, PackedMatrix, RowStats, RowSummary, Segments, View,
};
use crate::{
    AdamWStep, Attended, AttentionShape, CachedPrompt, CachedRow, Device, Dtype, Epilogue, LogRows,
    Matrix, Nonlinearity, PairMut, Precision, RowGradient, Rows, Slice, SliceMut, Stored,
    StoredMut, Trained, Write,
};
use rayon::prelude::*;
use std::borrow::Cow;
use std::ops::Range;

/// The processor, with all threads of rayon's pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cpu;

impl<'a> Slice<'a, Cpu> {
    /// The numbers.
    #[inline]
    #[must_use]
    pub fn host(self) -> &'a [f32] {
        &self.buffer[self.range()]
    }
}

impl<'a> SliceMut<'a, Cpu> {
    /// The numbers.
    #[inline]
    #[must_use]
    pub fn host(self) -> &'a mut [f32] {
        let range = self.range();
        &mut self.buffer[range]
    }
}

impl<'a> PairMut<'a, Cpu> {
    /// The numbers of both.
    #[must_use]
    pub fn host(self) -> [&'a mut [f32]; 2] {
        let both = self.buffer.get_disjoint_mut(self.ranges);
        both.expect("they are checked not to overlap")
    }
}

impl<'a> Stored<'a, Cpu> {
    #[inline]
    fn host(self) -> Numbers<'a> {
        match self.dtype() {
            Dtype::F32 => Numbers::F32(&self.buffer[self.range()]),
            Dtype::Bf16 => Numbers::Bf16(&bytemuck::cast_slice(self.buffer)[self.range()]),
        }
    }
}

impl<'a> StoredMut<'a, Cpu> {
    fn host(self) -> NumbersMut<'a> {
        let range = self.range();
        match self.dtype() {
            Dtype::F32 => NumbersMut::F32(&mut self.buffer[range]),
            Dtype::Bf16 => {
                let words: &mut [u16] = bytemuck::cast_slice_mut(self.buffer);
                NumbersMut::Bf16(&mut words[range])
            }
        }
    }
}

impl<'a> Matrix<'a, Cpu> {
    #[inline]
    fn host(self) -> View<'a> {
        let view = View::of(self.data.host(), self.columns);
        if self.transposed { view.t() } else { view }
    }
}

/// Stats of at least `n` rows.
fn stats_of(stats: &mut Vec<RowStats>, n: usize) -> &mut [RowStats] {
    if stats.len() < n {
        stats.resize(n, RowStats::default());
    }
    &mut stats[..n]
}

impl Device for Cpu {
    type Buffer = Buffer;
    type Segments = Segments;
    type NormStats = Vec<RowStats>;
    type RowSummaries = Vec<RowSummary>;
    type Packed = PackedMatrix;
    type Cache = Cache;

    /// On one of rayon's threads: handing a pass over once costs less than handing over each of its many
    /// small pieces.
    #[inline]
    fn run<T: Send>(&self, pass: impl FnOnce() -> T + Send) -> T {
        rayon::scope(|_| pass())
    }

    fn zeroed(&self, length: usize) -> Buffer {
        Buffer::zeroed(length)
    }

    #[inline]
    fn at_least<'a>(&self, buffer: &'a mut Buffer, length: usize) -> SliceMut<'a, Self> {
        buffer.at_least(length);
        SliceMut::first(buffer, length)
    }

    fn grow(&self, buffer: &mut Buffer, kept: usize, length: usize) {
        buffer.grow(kept, length);
    }

    fn clear(&self, x: SliceMut<'_, Self>) {
        x.host().fill(0.0);
    }

    fn copy(&self, from: Slice<'_, Self>, to: SliceMut<'_, Self>) {
        to.host().copy_from_slice(from.host());
    }

    fn to_host<'a>(&self, numbers: Stored<'a, Self>) -> Cow<'a, [f32]> {
        match numbers.host() {
            Numbers::F32(all) => Cow::Borrowed(all),
            words @ Numbers::Bf16(_) => {
                let mut all = vec![0.0; words.len()];
                words.copy(0, &mut all);
                Cow::Owned(all)
            }
        }
    }

    fn write(&self, values: &[f32], to: StoredMut<'_, Self>) {
        assert_eq!(values.len(), to.len());
        to.host().write(0, values);
    }

    #[inline]
    fn matmul(
        &self,
        precision: Precision,
        c: SliceMut<'_, Self>,
        into: Write,
        scale: f32,
        a: Matrix<'_, Self>,
        b: Matrix<'_, Self>,
    ) {
        super::matmul(precision, c.host(), into, scale, a.host(), b.host());
    }

    fn linear(
        &self,
        precision: Precision,
        x: Slice<'_, Self>,
        (weight, bias): (Matrix<'_, Self>, Slice<'_, Self>),
        y: SliceMut<'_, Self>,
        into: Write,
    ) {
        let (x, y, bias) = (x.host(), y.host(), bias.host());
        match into {
            Write::Over => super::fill_rows(y, bias),
            Write::Add => super::add_to_rows(y, bias),
        }
        let x = View::new(x, x.len() / (y.len() / bias.len()));
        super::matmul(precision, y, Write::Add, 1.0, x, weight.host());
    }

    fn add_column_sums(&self, x: Slice<'_, Self>, sums: SliceMut<'_, Self>) {
        super::add_column_sums(x.host(), sums.host());
    }

    fn layer_norm(
        &self,
        x: Slice<'_, Self>,
        epsilon: f32,
        stats: &mut Vec<RowStats>,
        [weight, bias]: [Slice<'_, Self>; 2],
        y: SliceMut<'_, Self>,
    ) {
        let x = x.host();
        let stats = stats_of(stats, x.len() / weight.len());
        super::layer_norm_stats(x, epsilon, stats);
        super::layer_norm(x, stats, weight.host(), bias.host(), y.host());
    }

    fn layer_norm_again(
        &self,
        x: Slice<'_, Self>,
        stats: &Vec<RowStats>,
        [weight, bias]: [Slice<'_, Self>; 2],
        y: SliceMut<'_, Self>,
    ) {
        let stats = &stats[..x.len() / weight.len()];
        super::layer_norm(x.host(), stats, weight.host(), bias.host(), y.host());
    }

    fn layer_norm_backward(
        &self,
        (x, stats): (Slice<'_, Self>, &Vec<RowStats>),
        weight: Slice<'_, Self>,
        dy: Slice<'_, Self>,
        dx: SliceMut<'_, Self>,
        d_affine: Option<PairMut<'_, Self>>,
    ) {
        let (x, dy) = (x.host(), dy.host());
        let stats = &stats[..x.len() / weight.len()];
        super::layer_norm_backward(x, stats, weight.host(), dy, dx.host());
        if let Some(d_affine) = d_affine {
            let [dw, db] = d_affine.host();
            super::layer_norm_backward_affine(x, stats, dy, dw, db);
        }
    }

    fn activate(&self, kind: Nonlinearity, x: Slice<'_, Self>, y: SliceMut<'_, Self>) {
        super::activate(kind, x.host(), y.host());
    }

    fn activate_backward(
        &self,
        kind: Nonlinearity,
        x: Slice<'_, Self>,
        y: SliceMut<'_, Self>,
        gradient: SliceMut<'_, Self>,
    ) {
        super::activate_backward(kind, x.host(), y.host(), gradient.host());
    }

    fn embed(
        &self,
        (tokens, by_token): (&[u32], Stored<'_, Self>),
        (positions, by_position): (&[u32], Slice<'_, Self>),
        x: SliceMut<'_, Self>,
    ) {
        let tables = (by_token.host(), by_position.host());
        super::embed((tokens, tables.0), (positions, tables.1), x.host());
    }

    fn embed_backward(&self, ids: &[u32], dx: Slice<'_, Self>, table: SliceMut<'_, Self>) {
        let rows = ids.iter().map(|id| *id as usize);
        super::scatter_add_rows(rows, dx.host(), table.host());
    }

    fn gather_rows(&self, rows: &[usize], from: Slice<'_, Self>, to: SliceMut<'_, Self>) {
        super::gather_rows(rows, from.host(), to.host());
    }

    fn scatter_add_rows(&self, rows: &[usize], from: Slice<'_, Self>, to: SliceMut<'_, Self>) {
        super::scatter_add_rows(rows.iter().copied(), from.host(), to.host());
    }

    fn keep_rows(&self, x: &mut Buffer, width: usize, rows: &[usize]) {
        super::keep_rows(x, width, rows);
    }

    fn segments(&self, segments: &[(Range<usize>, Option<usize>)]) -> Segments {
        Segments::new(segments.iter().cloned())
    }

    fn attention(
        &self,
        segments: &Segments,
        shape: AttentionShape,
        qkv: Slice<'_, Self>,
        output: SliceMut<'_, Self>,
        log_sums: SliceMut<'_, Self>,
    ) {
        super::attention(segments, shape, qkv.host(), output.host(), log_sums.host());
    }

    fn attention_backward(
        &self,
        segments: &Segments,
        shape: AttentionShape,
        attended: Attended<'_, Self>,
        d_output: Slice<'_, Self>,
        d_qkv: SliceMut<'_, Self>,
    ) {
        let attended = HostAttended {
            qkv: attended.qkv.host(),
            output: attended.output.host(),
            log_sums: attended.log_sums.host(),
        };
        super::attention_backward(segments, shape, attended, d_output.host(), d_qkv.host());
    }

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
        super::summarize_rows(logits, vocab, summaries);
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
        super::log_softmax_backward(logits.host(), vocab, summaries, of_rows, scale);
    }

    fn numbers(
        &self,
        hidden: Slice<'_, Self>,
        weight: Slice<'_, Self>,
        bias: Option<Slice<'_, Self>>,
    ) -> Vec<f32> {
        let (weight, bias) = (weight.host(), bias.map_or(0.0, |bias| bias.host()[0]));
        let rows = hidden.host().chunks_exact(weight.len());
        rows.map(|row| super::dot_rows(row, weight) + bias)
            .collect()
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
        super::matmul(precision, &mut rows, Write::Over, scale, a, b);
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
        super::matmul(precision, d_hidden, Write::Add, scale, d_rows, weight);
        if let Some(d_weight) = d_weight {
            let d_weight = d_weight.host();
            super::matmul(precision, d_weight, Write::Add, scale, d_rows.t(), hidden);
        }
    }

    fn pack(&self, memory: Buffer, precision: Precision, matrix: Matrix<'_, Self>) -> PackedMatrix {
        PackedMatrix::within(memory, precision, matrix.host())
    }

    fn unpack(&self, packed: PackedMatrix) -> Buffer {
        packed.into_memory()
    }

    #[inline]
    fn multiply_packed(
        &self,
        x: Slice<'_, Self>,
        matrix: &PackedMatrix,
        epilogue: Epilogue<'_, Self>,
        scratch: &mut Buffer,
        c: SliceMut<'_, Self>,
    ) {
        let epilogue = HostEpilogue {
            bias: epilogue.bias.map(Slice::host),
            scale: epilogue.scale,
            write: epilogue.write,
        };
        matrix.multiply(x.host(), epilogue, scratch, c.host());
    }

    fn cache(&self, layers: usize, shape: AttentionShape, room: usize) -> Cache {
        Cache::new(layers, shape, room)
    }

    fn room(&self, cache: &Cache) -> usize {
        cache.room()
    }

    fn cache_prompts(
        &self,
        prompts: &mut [CachedPrompt<'_, Self>],
        layer: usize,
        qkv: Slice<'_, Self>,
    ) {
        let qkv = qkv.host();
        prompts
            .par_iter_mut()
            .for_each(|CachedPrompt { cache, rows }| {
                let d = cache.width();
                let tokens = qkv[rows.start * 3 * d..rows.end * 3 * d].chunks_exact(3 * d);
                for (position, token) in tokens.enumerate() {
                    cache.put(layer, position, &token[d..2 * d], &token[2 * d..]);
                }
            });
    }

    fn attend_cached(
        &self,
        rows: &mut [CachedRow<'_, Self>],
        layer: usize,
        shape: AttentionShape,
        qkv: Slice<'_, Self>,
        output: SliceMut<'_, Self>,
    ) {
        let rows = rows.iter_mut().map(|row| HostRow {
            cache: &mut *row.cache,
            position: row.position,
        });
        let mut rows: Vec<HostRow<'_>> = rows.collect();
        super::attend_cached(&mut rows, layer, shape, qkv.host(), output.host());
    }

    fn sum_of_squares(&self, x: Slice<'_, Self>) -> f64 {
        super::sum_of_squares(x.host())
    }

    fn adamw_step(
        &self,
        step: AdamWStep<'_>,
        trained: &[Trained],
        weights: &mut Buffer,
        gradients: &mut Buffer,
        [first, second]: [&mut Buffer; 2],
    ) {
        super::adamw_step(step, trained, weights, gradients, [first, second]);
    }
}

/// `to` += `by`·`x`.
fn add_scaled(to: &mut [f32], by: f32, x: &[f32]) {
    to.iter_mut().zip(x).for_each(|(sum, x)| *sum += by * x);
}
