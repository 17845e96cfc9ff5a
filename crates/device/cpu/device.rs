//! The processor as a [`Device`]: each operation is a kernel of this folder.

use super::{
    Attended as HostAttended, Buffer, Cache, CachedRow as HostRow, Epilogue as HostEpilogue,
    GroupStats, HostColumns, HostColumnsMut, HostRope, Numbers, NumbersMut, PackedMatrix,
    RowSummary, Segments, Turn, View,
};
use crate::{
    AdamWStep, Attended, AttentionShape, CachedPrompt, CachedRow, Columns, ColumnsMut, Device,
    Dtype, Epilogue, LogRows, Matrix, Nonlinearity, Norm, NormGradients, NormWeights, PairMut,
    Precision, Rope, RowGradient, Rows, Slice, SliceMut, Stored, StoredMut, Trained, Write,
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

impl<'a> Columns<'a, Cpu> {
    fn host(self) -> HostColumns<'a> {
        HostColumns::new(self.data.host(), self.row_width, &self.columns)
    }
}

impl<'a> ColumnsMut<'a, Cpu> {
    fn host(self) -> HostColumnsMut<'a> {
        HostColumnsMut::new(self.data.host(), self.row_width, &self.columns)
    }
}

impl<'a> Rope<'a, Cpu> {
    fn host(self) -> HostRope<'a> {
        HostRope {
            cos: self.cos.host(),
            sin: self.sin.host(),
            rotary: self.rotary,
        }
    }
}

/// How many groups of so many numbers the rows have.
fn groups(x: HostColumns<'_>, width: usize) -> usize {
    x.rows() * (x.width() / width)
}

impl Device for Cpu {
    type Buffer = Buffer;
    type Segments = Segments;
    type NormStats = Vec<GroupStats>;
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
        (weight, bias): (Matrix<'_, Self>, Option<Slice<'_, Self>>),
        y: SliceMut<'_, Self>,
        into: Write,
    ) {
        let (x, y, weight) = (View::new(x.host(), weight.rows()), y.host(), weight.host());
        let into = match (bias, into) {
            (None, into) => into,
            (Some(bias), Write::Over) => {
                super::fill_rows(y, bias.host());
                Write::Add
            }
            (Some(bias), Write::Add) => {
                super::add_to_rows(y, bias.host());
                Write::Add
            }
        };
        super::matmul(precision, y, into, 1.0, x, weight);
    }

    fn add_column_sums(&self, x: Slice<'_, Self>, sums: SliceMut<'_, Self>) {
        super::add_column_sums(x.host(), sums.host());
    }

    fn norm(
        &self,
        norm: Norm,
        x: Columns<'_, Self>,
        stats: &mut Vec<GroupStats>,
        weights: NormWeights<'_, Self>,
        y: ColumnsMut<'_, Self>,
    ) {
        let host = x.clone().host();
        let count = groups(host, weights.weight.len());
        if stats.len() < count {
            stats.resize(count, GroupStats::default());
        }
        super::norm_stats(norm, host, &mut stats[..count]);
        self.norm_again(norm, x, stats, weights, y);
    }

    fn norm_again(
        &self,
        norm: Norm,
        x: Columns<'_, Self>,
        stats: &Vec<GroupStats>,
        weights: NormWeights<'_, Self>,
        y: ColumnsMut<'_, Self>,
    ) {
        let (x, weight) = (x.host(), weights.weight.host());
        let stats = &stats[..groups(x, weight.len())];
        let bias = weights.bias.map(Slice::host);
        super::norm_rows(norm, x, stats, weight, bias, y.host());
    }

    fn norm_backward(
        &self,
        norm: Norm,
        (x, stats): (Columns<'_, Self>, &Vec<GroupStats>),
        weight: Slice<'_, Self>,
        dy: Columns<'_, Self>,
        dx: ColumnsMut<'_, Self>,
        into: Write,
        d_weights: NormGradients<'_, Self>,
    ) {
        let (x, weight, dy) = (x.host(), weight.host(), dy.host());
        let x_and_stats = (x, &stats[..groups(x, weight.len())]);
        super::norm_backward(norm, x_and_stats, weight, dy, dx.host(), into);
        weight_gradients(x_and_stats, dy, d_weights);
    }

    fn norm_backward_in_place(
        &self,
        norm: Norm,
        (x, stats): (Columns<'_, Self>, &Vec<GroupStats>),
        weight: Slice<'_, Self>,
        gradient: ColumnsMut<'_, Self>,
        d_weights: NormGradients<'_, Self>,
    ) {
        let (x, weight, gradient) = (x.host(), weight.host(), gradient.host());
        let x_and_stats = (x, &stats[..groups(x, weight.len())]);
        weight_gradients(x_and_stats, gradient.read(), d_weights);
        super::norm_backward_in_place(norm, x_and_stats, weight, gradient);
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

    fn activate_gated(
        &self,
        kind: Nonlinearity,
        inner: usize,
        x: Slice<'_, Self>,
        y: SliceMut<'_, Self>,
    ) {
        super::activate_gated(kind, inner, x.host(), y.host());
    }

    fn activate_gated_backward(
        &self,
        kind: Nonlinearity,
        (x, inner): (Slice<'_, Self>, usize),
        y: SliceMut<'_, Self>,
        dy: Slice<'_, Self>,
        dx: SliceMut<'_, Self>,
    ) {
        super::activate_gated_backward(kind, inner, x.host(), y.host(), dy.host(), dx.host());
    }

    fn embed(
        &self,
        ids: &[u32],
        table: Stored<'_, Self>,
        scale: f32,
        x: SliceMut<'_, Self>,
        into: Write,
    ) {
        super::embed(ids, table.host(), scale, x.host(), into);
    }

    fn embed_backward(
        &self,
        ids: &[u32],
        scale: f32,
        dx: Slice<'_, Self>,
        table: SliceMut<'_, Self>,
    ) {
        let rows = ids.iter().map(|id| *id as usize);
        super::scatter_add_rows(rows, scale, dx.host(), table.host());
    }

    fn gather_rows(&self, rows: &[usize], from: Slice<'_, Self>, to: SliceMut<'_, Self>) {
        super::gather_rows(rows, from.host(), to.host());
    }

    fn scatter_add_rows(&self, rows: &[usize], from: Slice<'_, Self>, to: SliceMut<'_, Self>) {
        super::scatter_add_rows(rows.iter().copied(), 1.0, from.host(), to.host());
    }

    fn keep_rows(&self, x: &mut Buffer, width: usize, rows: &[usize]) {
        super::keep_rows(x, width, rows);
    }

    fn segments(&self, segments: &[(Range<usize>, Option<usize>)]) -> Segments {
        Segments::new(segments.iter().cloned())
    }

    fn rope(
        &self,
        shape: AttentionShape,
        rope: Rope<'_, Self>,
        positions: &[u32],
        qkv: SliceMut<'_, Self>,
    ) {
        super::rope(shape, rope.host(), positions, qkv.host(), Turn::Forward);
    }

    fn rope_backward(
        &self,
        shape: AttentionShape,
        rope: Rope<'_, Self>,
        positions: &[u32],
        d_qkv: SliceMut<'_, Self>,
    ) {
        super::rope(shape, rope.host(), positions, d_qkv.host(), Turn::Backward);
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

    fn cache(&self, layers: &[AttentionShape], room: usize) -> Cache {
        Cache::new(layers, room)
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
            .for_each(|CachedPrompt { cache, rows }| cache.put_prompt(layer, qkv, rows));
    }

    fn attend_cached(
        &self,
        rows: &mut [CachedRow<'_, Self>],
        layer: usize,
        qkv: Slice<'_, Self>,
        output: SliceMut<'_, Self>,
    ) {
        let rows = rows.iter_mut().map(|row| HostRow {
            cache: &mut *row.cache,
            position: row.position,
        });
        let mut rows: Vec<HostRow<'_>> = rows.collect();
        super::attend_cached(&mut rows, layer, qkv.host(), output.host());
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

/// Adds to the gradients of a normalization's weights.
fn weight_gradients(
    x_and_stats: (HostColumns<'_>, &[GroupStats]),
    dy: HostColumns<'_>,
    d_weights: NormGradients<'_, Cpu>,
) {
    let [dw, db] = match d_weights {
        NormGradients::Frozen => return,
        NormGradients::Weight(dw) => [dw.host(), &mut []],
        NormGradients::WeightAndBias(both) => both.host(),
    };
    super::norm_backward_weights(x_and_stats, dy, dw, db);
}

/// `to` += `by`·`x`.
fn add_scaled(to: &mut [f32], by: f32, x: &[f32]) {
    to.iter_mut().zip(x).for_each(|(sum, x)| *sum += by * x);
}
