//! The parts a transformer is made of. Each reads weights and writes activations in `forward`, and
//! in `backward` adds to the gradients of its parameters and answers that of its input.

use crate::parameters::Affine;
use rlhf_device::{
    Columns, ColumnsMut, Device, Matrix, NormGradients, NormKind, NormWeights, Precision, Slice,
    SliceMut, Write,
};
use rlhf_tensor::{Gradients, ParameterId, Weights};

/// y = x·W + b, with W [in, out].
#[derive(Debug, Clone, Copy)]
pub(super) struct Linear {
    pub(super) ids: Affine,
    /// What its three products are computed in.
    pub(super) precision: Precision,
}

impl Linear {
    /// W, [in, out].
    pub(super) fn weight<'a, D: Device>(&self, weights: Weights<'a, D>) -> Matrix<'a, D> {
        Matrix::new(weights.stored(self.ids.weight), self.outputs(weights))
    }

    fn outputs<D: Device>(&self, weights: Weights<'_, D>) -> usize {
        weights.slice(self.ids.bias).len()
    }

    /// `y` ← (`y` +) x·W + b.
    pub(super) fn forward<D: Device>(
        &self,
        weights: Weights<'_, D>,
        x: Slice<'_, D>,
        y: SliceMut<'_, D>,
        write: Write,
    ) {
        if x.is_empty() {
            return;
        }
        let affine = (self.weight(weights), Some(weights.slice(self.ids.bias)));
        let device = weights.device();
        device.linear(self.precision, x, affine, y, write);
    }

    /// `dx` ← dy·Wᵀ.
    pub(super) fn backward_input<D: Device>(
        &self,
        weights: Weights<'_, D>,
        dy: Slice<'_, D>,
        dx: SliceMut<'_, D>,
    ) {
        let (weight, dy) = (self.weight(weights), Matrix::new(dy, self.outputs(weights)));
        let device = weights.device();
        device.matmul(self.precision, dx, Write::Over, 1.0, dy, weight.t());
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
        let (device, outputs) = (weights.device(), self.outputs(weights));
        if let Some(bias) = gradients.slice_mut(self.ids.bias) {
            device.add_column_sums(dy, bias);
        }
        if let Some(weight) = gradients.slice_mut(self.ids.weight) {
            let x = Matrix::new(x, x.len() / (dy.len() / outputs));
            let dy = Matrix::new(dy, outputs);
            device.matmul(self.precision, weight, Write::Add, 1.0, x.t(), dy);
        }
    }
}

/// Layer normalization.
#[derive(Debug, Clone, Copy)]
pub(super) struct Norm {
    pub(super) ids: Affine,
    pub(super) epsilon: f32,
}

impl Norm {
    fn shape(&self) -> rlhf_device::Norm {
        rlhf_device::Norm {
            kind: NormKind::Layer,
            epsilon: self.epsilon,
            weight_offset: 0.0,
        }
    }

    fn weights<'a, D: Device>(&self, weights: Weights<'a, D>) -> NormWeights<'a, D> {
        NormWeights {
            weight: weights.slice(self.ids.weight),
            bias: Some(weights.slice(self.ids.bias)),
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
        let device = weights.device();
        let affine = self.weights(weights);
        let width = affine.weight.len();
        let (x, y) = (Columns::all(x, width), ColumnsMut::all(y, width));
        device.norm(self.shape(), x, stats, affine, y);
    }

    /// `y` ← the norm of x, from its stats: cheaper to compute again than to keep.
    pub(super) fn again<D: Device>(
        &self,
        weights: Weights<'_, D>,
        x: Slice<'_, D>,
        stats: &D::NormStats,
        y: SliceMut<'_, D>,
    ) {
        let device = weights.device();
        let affine = self.weights(weights);
        let width = affine.weight.len();
        let (x, y) = (Columns::all(x, width), ColumnsMut::all(y, width));
        device.norm_again(self.shape(), x, stats, affine, y);
    }

    /// Adds the gradient of x to `dx`.
    pub(super) fn backward<D: Device>(
        &self,
        (weights, gradients): (Weights<'_, D>, &mut Gradients<'_, D>),
        (x, stats): (Slice<'_, D>, &D::NormStats),
        dy: Slice<'_, D>,
        dx: SliceMut<'_, D>,
    ) {
        let (device, weight) = (weights.device(), weights.slice(self.ids.weight));
        let d_weights = match gradients.pair_mut(self.ids.weight, self.ids.bias) {
            Some(both) => NormGradients::WeightAndBias(both),
            None => NormGradients::Frozen,
        };
        let width = weight.len();
        let x = (Columns::all(x, width), stats);
        let (dy, dx) = (Columns::all(dy, width), ColumnsMut::all(dx, width));
        device.norm_backward(self.shape(), x, weight, dy, dx, Write::Add, d_weights);
    }
}

/// Token and position embeddings.
#[derive(Debug, Clone, Copy)]
pub(super) struct Embedding {
    pub(super) tokens: ParameterId,
    pub(super) positions: ParameterId,
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
        let (device, table) = (weights.device(), weights.stored(self.tokens));
        device.embed(tokens, table, 1.0, x.reborrow(), Write::Over);
        let table = weights.stored(self.positions);
        device.embed(positions, table, 1.0, x, Write::Add);
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
        for (table, ids) in [(self.tokens, tokens), (self.positions, positions)] {
            if let Some(table) = gradients.slice_mut(table) {
                device.embed_backward(ids, 1.0, dx, table);
            }
        }
    }
}
