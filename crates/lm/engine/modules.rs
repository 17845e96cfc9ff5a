//! The parts a transformer is made of. Each reads weights and writes activations in `forward`, and
//! in `backward` adds to the gradients of its parameters and answers that of its input.

use super::low_rank::LowRank;
use crate::parameters::{LinearIds, NormIds};
use rlhf_device::{
    AttentionShape, Columns, ColumnsMut, Device, Matrix, NormGradients, NormWeights, Precision,
    Slice, SliceMut, Write,
};
use rlhf_models::WeightLayout;
use rlhf_tensor::{Gradients, ParameterId, Weights};

/// y = x·W + b, or without b: one weight, or several that lie side by side and are read as one. All
/// products with the weights of linear layers are here and, for decoding, in
/// [`PackedLinear`](super::packed_linear::PackedLinear).
#[derive(Debug, Clone)]
pub(super) struct Linear {
    pub(super) ids: LinearIds,
    pub(super) layout: WeightLayout,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    /// What its three products are computed in.
    pub(super) precision: Precision,
}

impl Linear {
    /// W, [in, out].
    pub(super) fn weight<'a, D: Device>(&self, weights: Weights<'a, D>) -> Matrix<'a, D> {
        let stored = weights.joined(&self.ids.weights);
        match self.layout {
            WeightLayout::InOut => Matrix::new(stored, self.outputs),
            WeightLayout::OutIn => Matrix::new(stored, self.inputs).t(),
        }
    }

    /// b, \[out\], if there is one.
    pub(super) fn bias<'a, D: Device>(&self, weights: Weights<'a, D>) -> Option<Slice<'a, D>> {
        if self.ids.biases.is_empty() {
            return None;
        }
        let stored = weights.joined(&self.ids.biases);
        Some(stored.floats().expect("biases are held in f32"))
    }

    /// `y` ← (`y` +) x·W + b.
    pub(super) fn forward<D: Device>(
        &self,
        weights: Weights<'_, D>,
        x: Slice<'_, D>,
        mut y: SliceMut<'_, D>,
        write: Write,
    ) {
        if x.is_empty() {
            return;
        }
        let affine = (self.weight(weights), self.bias(weights));
        let device = weights.device();
        device.linear(self.precision, x, affine, y.reborrow(), write);
        if let Some(low_rank) = LowRank::of(self) {
            low_rank.forward(weights, x, y);
        }
    }

    /// `dx` ← (`dx` +) dy·Wᵀ.
    pub(super) fn backward_input<D: Device>(
        &self,
        weights: Weights<'_, D>,
        dy: Slice<'_, D>,
        mut dx: SliceMut<'_, D>,
        write: Write,
    ) {
        let (weight, of_dy) = (self.weight(weights), Matrix::new(dy, self.outputs));
        let device = weights.device();
        device.matmul(self.precision, dx.reborrow(), write, 1.0, of_dy, weight.t());
        if let Some(low_rank) = LowRank::of(self) {
            low_rank.backward_input(weights, dy, dx);
        }
    }

    /// dW += xᵀ·dy, db += Σ dy, of those that are trained.
    pub(super) fn backward_weights<D: Device>(
        &self,
        (weights, gradients): (Weights<'_, D>, &mut Gradients<'_, D>),
        x: Slice<'_, D>,
        dy: Slice<'_, D>,
    ) {
        if x.is_empty() {
            return;
        }
        let device = weights.device();
        let biases = &self.ids.biases;
        if !biases.is_empty()
            && let Some(bias) = gradients.joined_mut(biases)
        {
            device.add_column_sums(dy, bias);
        }
        if let Some(weight) = gradients.joined_mut(&self.ids.weights) {
            let (x, dy) = (Matrix::new(x, self.inputs), Matrix::new(dy, self.outputs));
            let (a, b) = match self.layout {
                WeightLayout::InOut => (x.t(), dy),
                WeightLayout::OutIn => (dy.t(), x),
            };
            device.matmul(self.precision, weight, Write::Add, 1.0, a, b);
        }
        if let Some(low_rank) = LowRank::of(self) {
            low_rank.backward_weights((weights, gradients), x, dy);
        }
    }
}

/// A norm of whole rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Norm {
    pub(super) ids: NormIds,
    pub(super) formula: rlhf_device::Norm,
}

impl Norm {
    fn weights<'a, D: Device>(&self, weights: Weights<'a, D>) -> NormWeights<'a, D> {
        NormWeights {
            weight: weights.slice(self.ids.weight),
            bias: self.ids.bias.map(|bias| weights.slice(bias)),
        }
    }

    /// `y` ← the norm of x; `stats` are kept for the rest.
    pub(super) fn forward<D: Device>(
        &self,
        weights: Weights<'_, D>,
        x: Slice<'_, D>,
        stats: &mut D::NormStats,
        y: SliceMut<'_, D>,
    ) {
        let affine = self.weights(weights);
        let width = affine.weight.len();
        let (x, y) = (Columns::all(x, width), ColumnsMut::all(y, width));
        weights.device().norm(self.formula, x, stats, affine, y);
    }

    /// `y` ← the norm of x, from its stats: cheaper to compute again than to keep.
    pub(super) fn again<D: Device>(
        &self,
        weights: Weights<'_, D>,
        x: Slice<'_, D>,
        stats: &D::NormStats,
        y: SliceMut<'_, D>,
    ) {
        let affine = self.weights(weights);
        let width = affine.weight.len();
        let (x, y) = (Columns::all(x, width), ColumnsMut::all(y, width));
        let device = weights.device();
        device.norm_again(self.formula, x, stats, affine, y);
    }

    /// `dx` ← (`dx` +) the gradient of x.
    pub(super) fn backward<D: Device>(
        &self,
        (weights, gradients): (Weights<'_, D>, &mut Gradients<'_, D>),
        (x, stats): (Slice<'_, D>, &D::NormStats),
        dy: Slice<'_, D>,
        dx: SliceMut<'_, D>,
        write: Write,
    ) {
        let weight = weights.slice(self.ids.weight);
        let width = weight.len();
        let x = (Columns::all(x, width), stats);
        let (dy, dx) = (Columns::all(dy, width), ColumnsMut::all(dx, width));
        let d_weights = norm_gradients(gradients, self.ids);
        let device = weights.device();
        device.norm_backward(self.formula, x, weight, dy, dx, write, d_weights);
    }

    /// `gradient`, that of the norm, becomes that of x.
    pub(super) fn backward_in_place<D: Device>(
        &self,
        (weights, gradients): (Weights<'_, D>, &mut Gradients<'_, D>),
        (x, stats): (Slice<'_, D>, &D::NormStats),
        gradient: SliceMut<'_, D>,
    ) {
        let weight = weights.slice(self.ids.weight);
        let width = weight.len();
        let x = (Columns::all(x, width), stats);
        let gradient = ColumnsMut::all(gradient, width);
        let d_weights = norm_gradients(gradients, self.ids);
        let device = weights.device();
        device.norm_backward_in_place(self.formula, x, weight, gradient, d_weights);
    }
}

/// What a layer reads: the norm of x, in the given memory, or x itself where there is none.
pub(super) fn normalized<'a, D: Device>(
    norm: &Option<Norm>,
    weights: Weights<'_, D>,
    x: Slice<'a, D>,
    stats: &mut D::NormStats,
    memory: &'a mut D::Buffer,
) -> Slice<'a, D> {
    let Some(norm) = norm else {
        return x;
    };
    let mut normed = weights.device().at_least(memory, x.len());
    norm.forward(weights, x, stats, normed.reborrow());
    normed.into_read()
}

fn norm_gradients<'a, D: Device>(
    gradients: &'a mut Gradients<'_, D>,
    ids: NormIds,
) -> NormGradients<'a, D> {
    match ids.bias {
        Some(bias) => match gradients.pair_mut(ids.weight, bias) {
            Some(both) => NormGradients::WeightAndBias(both),
            None => NormGradients::Frozen,
        },
        None => match gradients.slice_mut(ids.weight) {
            Some(weight) => NormGradients::Weight(weight),
            None => NormGradients::Frozen,
        },
    }
}

/// The norms of queries and keys, in groups as wide as their weights: a head, or all heads.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueryKeyNorm {
    pub(super) query: ParameterId,
    pub(super) key: ParameterId,
    pub(super) formula: rlhf_device::Norm,
}

/// What the norms of queries and keys keep for their backward pass.
#[derive(Debug)]
pub(super) struct QueryKeyStats<D: Device> {
    query: D::NormStats,
    key: D::NormStats,
}

impl<D: Device> Default for QueryKeyStats<D> {
    fn default() -> Self {
        Self {
            query: D::NormStats::default(),
            key: D::NormStats::default(),
        }
    }
}

impl QueryKeyNorm {
    /// `qkv` [n, qkv width] ← the norms of the queries and keys of `projected`, and its values.
    pub(super) fn forward<D: Device>(
        &self,
        weights: Weights<'_, D>,
        shape: AttentionShape,
        projected: Slice<'_, D>,
        stats: &mut QueryKeyStats<D>,
        mut qkv: SliceMut<'_, D>,
    ) {
        let (device, width) = (weights.device(), shape.qkv_width());
        device.copy(projected, qkv.reborrow());
        let [q, k] = columns(shape);
        for (weight, columns, stats) in [
            (self.query, q, &mut stats.query),
            (self.key, k, &mut stats.key),
        ] {
            let affine = NormWeights {
                weight: weights.slice(weight),
                bias: None,
            };
            let x = Columns::new(projected, width, columns.clone());
            let y = ColumnsMut::new(qkv.reborrow(), width, columns);
            device.norm(self.formula, x, stats, affine, y);
        }
    }

    /// `gradient` [n, qkv width], that of the norms and the values, becomes that of `projected`.
    pub(super) fn backward<D: Device>(
        &self,
        (weights, gradients): (Weights<'_, D>, &mut Gradients<'_, D>),
        shape: AttentionShape,
        (projected, stats): (Slice<'_, D>, &QueryKeyStats<D>),
        mut gradient: SliceMut<'_, D>,
    ) {
        let (device, width) = (weights.device(), shape.qkv_width());
        let [q, k] = columns(shape);
        for (weight, columns, stats) in [(self.query, q, &stats.query), (self.key, k, &stats.key)] {
            let x = (Columns::new(projected, width, columns.clone()), stats);
            let gradient = ColumnsMut::new(gradient.reborrow(), width, columns);
            let ids = NormIds { weight, bias: None };
            let d_weights = norm_gradients(gradients, ids);
            let weight = weights.slice(weight);
            device.norm_backward_in_place(self.formula, x, weight, gradient, d_weights);
        }
    }
}

/// The columns of queries and of keys.
fn columns(shape: AttentionShape) -> [std::ops::Range<usize>; 2] {
    let q = shape.query_width();
    [0..q, q..q + shape.kv_width()]
}

/// Token embeddings, and position embeddings where positions are learned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Embedding {
    pub(super) tokens: ParameterId,
    pub(super) scale: f32,
    pub(super) positions: Option<LearnedPositions>,
}

/// A table of position embeddings.
#[derive(Debug, Clone, Copy)]
pub(super) struct LearnedPositions {
    pub(super) table: ParameterId,
    /// The row of position 0.
    pub(super) offset: u32,
}

impl LearnedPositions {
    /// Calls with the rows of these positions.
    fn with_rows(&self, positions: &[u32], then: impl FnOnce(&[u32])) {
        if self.offset == 0 {
            return then(positions);
        }
        let rows: Vec<u32> = positions.iter().map(|p| p + self.offset).collect();
        then(&rows);
    }
}

impl Embedding {
    /// `x` [n, D] ← the embedding of each token at its position.
    pub(super) fn forward<D: Device>(
        &self,
        weights: Weights<'_, D>,
        tokens: &[u32],
        positions: &[u32],
        mut x: SliceMut<'_, D>,
    ) {
        let device = weights.device();
        let table = weights.stored(self.tokens);
        device.embed(tokens, table, self.scale, x.reborrow(), Write::Over);
        if let Some(learned) = &self.positions {
            let table = weights.stored(learned.table);
            learned.with_rows(positions, |rows| {
                device.embed(rows, table, 1.0, x, Write::Add);
            });
        }
    }

    /// Adds each row of `dx` to the gradients of its token and position, where they are trained.
    pub(super) fn backward<D: Device>(
        &self,
        gradients: &mut Gradients<'_, D>,
        tokens: &[u32],
        positions: &[u32],
        dx: Slice<'_, D>,
    ) {
        let device = gradients.device();
        if let Some(table) = gradients.slice_mut(self.tokens) {
            device.embed_backward(tokens, self.scale, dx, table);
        }
        if let Some(learned) = &self.positions
            && let Some(table) = gradients.slice_mut(learned.table)
        {
            learned.with_rows(positions, |rows| {
                device.embed_backward(rows, 1.0, dx, table);
            });
        }
    }
}
