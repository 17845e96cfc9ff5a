//! The adapters of a linear layer: y += s·(x·Aᵀ)·Bᵀ (LoRA: Hu et al. 2021, §4.1).
//!
//! Where several layers that read the same input are computed as one product, so are their adapters: the A's lie
//! one after the other, [R, in], and the B's become the blocks of one matrix [out, R] that is 0 elsewhere.

use crate::parameters::LowRankIds;
use rlhf_device::{
    Columns, ColumnsMut, Device, Dtype, Matrix, Precision, Slice, SliceMut, Stored, StoredMut,
    Write,
};
use rlhf_models::WeightLayout;
use rlhf_tensor::{Gradients, Weights};

/// The adapters of a linear layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct LowRank<'l> {
    ids: &'l LowRankIds,
    inputs: usize,
    outputs: usize,
    precision: Precision,
}

impl<'l> LowRank<'l> {
    /// Those of a layer of these sizes, whose products are computed in this precision.
    pub(super) fn new(
        ids: &'l LowRankIds,
        inputs: usize,
        outputs: usize,
        precision: Precision,
    ) -> Self {
        Self {
            ids,
            inputs,
            outputs,
            precision,
        }
    }

    /// R, the sum of their ranks.
    fn ranks<D: Device>(&self, weights: Weights<'_, D>) -> usize {
        weights.joined(&self.ids.a).len() / self.inputs
    }

    /// The ranks of adapter `index` among all.
    fn ranks_of(&self, index: usize, ranks: usize) -> std::ops::Range<usize> {
        let rank = ranks / self.ids.b.len();
        index * rank..(index + 1) * rank
    }

    /// Whether there is one adapter, of all outputs.
    fn is_whole(&self) -> bool {
        matches!(&self.ids.b[..], [(_, columns)] if columns.len() == self.outputs)
    }

    /// The A's, [R, in].
    fn a<'a, D: Device>(&self, weights: Weights<'a, D>) -> Matrix<'a, D> {
        Matrix::new(weights.joined(&self.ids.a), self.inputs)
    }

    /// The B's, [out, R], in the given memory unless there is one.
    fn b<'a, D: Device>(
        &self,
        weights: Weights<'a, D>,
        memory: &'a mut D::Buffer,
    ) -> Matrix<'a, D> {
        let ranks = self.ranks(weights);
        if self.is_whole() {
            return Matrix::new(weights.stored(self.ids.b[0].0), ranks);
        }
        let device = weights.device();
        let mut all = device.at_least(memory, self.outputs * ranks);
        device.clear(all.reborrow());
        for (index, (b, rows)) in self.ids.b.iter().enumerate() {
            let of_rows = rows.start * ranks..rows.end * ranks;
            let columns = self.ranks_of(index, ranks);
            let from = Columns::all(weights.slice(*b), columns.len());
            let to = ColumnsMut::new(all.reborrow().part(of_rows), ranks, columns);
            device.add_columns(from, to);
        }
        Matrix::new(Slice::first(memory, self.outputs * ranks), ranks)
    }

    /// `into` [n, R] ← x·Aᵀ.
    fn project<'m, D: Device>(
        &self,
        weights: Weights<'_, D>,
        x: Slice<'_, D>,
        into: &'m mut D::Buffer,
    ) -> Slice<'m, D> {
        let (device, size) = (
            weights.device(),
            x.len() / self.inputs * self.ranks(weights),
        );
        let u = device.at_least(into, size);
        let x = Matrix::new(x, self.inputs);
        let a = self.a(weights).t();
        device.matmul(self.precision, u, Write::Over, 1.0, x, a);
        Slice::first(into, size)
    }

    /// `into` [n, R] ← s·dy·B, the gradient of x·Aᵀ.
    fn project_back<'m, D: Device>(
        &self,
        weights: Weights<'_, D>,
        dy: Slice<'_, D>,
        into: &'m mut D::Buffer,
    ) -> Slice<'m, D> {
        let (device, size) = (
            weights.device(),
            dy.len() / self.outputs * self.ranks(weights),
        );
        let mut memory = D::Buffer::default();
        let b = self.b(weights, &mut memory);
        let du = device.at_least(into, size);
        let dy = Matrix::new(dy, self.outputs);
        device.matmul(self.precision, du, Write::Over, self.ids.scale, dy, b);
        Slice::first(into, size)
    }

    /// `y` += s·(x·Aᵀ)·Bᵀ.
    pub(super) fn forward<D: Device>(
        &self,
        weights: Weights<'_, D>,
        x: Slice<'_, D>,
        y: SliceMut<'_, D>,
    ) {
        let (device, ranks) = (weights.device(), self.ranks(weights));
        let (mut memory, mut of_u) = (D::Buffer::default(), D::Buffer::default());
        let u = Matrix::new(self.project(weights, x, &mut of_u), ranks);
        let b = self.b(weights, &mut memory).t();
        device.matmul(self.precision, y, Write::Add, self.ids.scale, u, b);
    }

    /// `dx` += s·(dy·B)·A.
    pub(super) fn backward_input<D: Device>(
        &self,
        weights: Weights<'_, D>,
        dy: Slice<'_, D>,
        dx: SliceMut<'_, D>,
    ) {
        let mut of_du = D::Buffer::default();
        let du = self.project_back(weights, dy, &mut of_du);
        let du = Matrix::new(du, self.ranks(weights));
        let device = weights.device();
        device.matmul(self.precision, dx, Write::Add, 1.0, du, self.a(weights));
    }

    /// dA += s·(dy·B)ᵀ·x, dB += s·dyᵀ·(x·Aᵀ), if they are trained.
    pub(super) fn backward_weights<D: Device>(
        &self,
        (weights, gradients): (Weights<'_, D>, &mut Gradients<'_, D>),
        x: Slice<'_, D>,
        dy: Slice<'_, D>,
    ) {
        let (device, ranks) = (weights.device(), self.ranks(weights));
        let Some(d_a) = gradients.joined_mut(&self.ids.a) else {
            return;
        };
        let (mut of_u, mut of_du) = (D::Buffer::default(), D::Buffer::default());
        let du = Matrix::new(self.project_back(weights, dy, &mut of_du), ranks);
        let of_x = Matrix::new(x, self.inputs);
        device.matmul(self.precision, d_a, Write::Add, 1.0, du.t(), of_x);
        let u = Matrix::new(self.project(weights, x, &mut of_u), ranks);
        let dy = Matrix::new(dy, self.outputs).t();
        if self.is_whole() {
            if let Some(d_b) = gradients.slice_mut(self.ids.b[0].0) {
                device.matmul(self.precision, d_b, Write::Add, self.ids.scale, dy, u);
            }
            return;
        }
        let mut memory = D::Buffer::default();
        let all = device.at_least(&mut memory, self.outputs * ranks);
        device.matmul(self.precision, all, Write::Over, self.ids.scale, dy, u);
        let all = Slice::first(&memory, self.outputs * ranks);
        for (index, (b, rows)) in self.ids.b.iter().enumerate() {
            let Some(d_b) = gradients.slice_mut(*b) else {
                continue;
            };
            let of_rows = all.part(rows.start * ranks..rows.end * ranks);
            let columns = self.ranks_of(index, ranks);
            let to = ColumnsMut::all(d_b, columns.len());
            device.add_columns(Columns::new(of_rows, ranks, columns), to);
        }
    }

    /// The weight of the layer with its adapters merged, W + s·B·A, in f32 and laid out as W is: what decoding
    /// multiplies with.
    pub(super) fn merged<'m, D: Device>(
        &self,
        (layout, weight): (WeightLayout, Stored<'_, D>),
        weights: Weights<'_, D>,
        memory: &'m mut D::Buffer,
    ) -> Matrix<'m, D> {
        let (device, size) = (weights.device(), self.inputs * self.outputs);
        let _ = device.at_least(memory, size);
        match weight.floats() {
            Some(floats) => device.copy(floats, SliceMut::first(memory, size)),
            None => {
                let floats = StoredMut::new(memory, Dtype::F32, 0..size);
                device.write(&device.to_host(weight), floats);
            }
        }
        let merged = SliceMut::first(memory, size);
        let mut of_b = D::Buffer::default();
        let (a, b) = (self.a(weights), self.b(weights, &mut of_b));
        let (first, second) = match layout {
            WeightLayout::OutIn => (b, a),
            WeightLayout::InOut => (a.t(), b.t()),
        };
        device.matmul(
            Precision::F32,
            merged,
            Write::Add,
            self.ids.scale,
            first,
            second,
        );
        let merged = Slice::first(memory, size);
        match layout {
            WeightLayout::InOut => Matrix::new(merged, self.outputs),
            WeightLayout::OutIn => Matrix::new(merged, self.inputs).t(),
        }
    }
}
