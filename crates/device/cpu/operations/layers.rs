//! [`Layers`] of the processor: each operation is a kernel of the folder above.

use crate::cpu::{self, Buffer, Cpu, GroupStats, HostColumns};
use crate::{
    Columns, ColumnsMut, Layers, Nonlinearity, Norm, NormGradients, NormWeights, Slice, SliceMut,
    Stored, Write,
};

impl Layers for Cpu {
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
        cpu::norm_stats(norm, host, &mut stats[..count]);
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
        cpu::norm_rows(norm, x, stats, weight, bias, y.host());
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
        cpu::norm_backward(norm, x_and_stats, weight, dy, dx.host(), into);
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
        cpu::norm_backward_in_place(norm, x_and_stats, weight, gradient);
    }

    fn activate(&self, kind: Nonlinearity, x: Slice<'_, Self>, y: SliceMut<'_, Self>) {
        cpu::activate(kind, x.host(), y.host());
    }

    fn activate_backward(
        &self,
        kind: Nonlinearity,
        x: Slice<'_, Self>,
        y: SliceMut<'_, Self>,
        gradient: SliceMut<'_, Self>,
    ) {
        cpu::activate_backward(kind, x.host(), y.host(), gradient.host());
    }

    fn activate_gated(
        &self,
        kind: Nonlinearity,
        inner: usize,
        x: Slice<'_, Self>,
        y: SliceMut<'_, Self>,
    ) {
        cpu::activate_gated(kind, inner, x.host(), y.host());
    }

    fn activate_gated_backward(
        &self,
        kind: Nonlinearity,
        (x, inner): (Slice<'_, Self>, usize),
        y: SliceMut<'_, Self>,
        dy: Slice<'_, Self>,
        dx: SliceMut<'_, Self>,
    ) {
        cpu::activate_gated_backward(kind, inner, x.host(), y.host(), dy.host(), dx.host());
    }

    fn embed(
        &self,
        ids: &[u32],
        table: Stored<'_, Self>,
        scale: f32,
        x: SliceMut<'_, Self>,
        into: Write,
    ) {
        cpu::embed(ids, table.host(), scale, x.host(), into);
    }

    fn embed_backward(
        &self,
        ids: &[u32],
        scale: f32,
        dx: Slice<'_, Self>,
        table: SliceMut<'_, Self>,
    ) {
        let rows = ids.iter().map(|id| *id as usize);
        cpu::scatter_add_rows(rows, scale, dx.host(), table.host());
    }

    fn gather_rows(&self, rows: &[usize], from: Slice<'_, Self>, to: SliceMut<'_, Self>) {
        cpu::gather_rows(rows, from.host(), to.host());
    }

    fn scatter_add_rows(&self, rows: &[usize], from: Slice<'_, Self>, to: SliceMut<'_, Self>) {
        cpu::scatter_add_rows(rows.iter().copied(), 1.0, from.host(), to.host());
    }

    fn keep_rows(&self, x: &mut Buffer, width: usize, rows: &[usize]) {
        cpu::keep_rows(x, width, rows);
    }
}

/// How many groups of so many numbers the rows have.
fn groups(x: HostColumns<'_>, width: usize) -> usize {
    x.rows() * (x.width() / width)
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
    cpu::norm_backward_weights(x_and_stats, dy, dw, db);
}
