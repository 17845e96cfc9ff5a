//! The parts a transformer is made of. Each reads weights and writes activations in `forward`, and
//! in `backward` adds to the gradients of its parameters and answers that of its input.

use crate::bodies::gpt2::Affine;
use rlhf_tensor::cpu::{
    self, Precision, RowStats, View, Write, add_column_sums, add_to_rows, fill_rows, matmul,
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
    pub(super) fn weight<'a>(&self, weights: Weights<'a>) -> View<'a> {
        View::of(
            weights.matrix(self.ids.weight),
            weights.get(self.ids.bias).len(),
        )
    }

    /// `y` ← (`y` +) x·W + b.
    pub(super) fn forward(&self, weights: Weights<'_>, x: &[f32], y: &mut [f32], write: Write) {
        if x.is_empty() {
            return;
        }
        let bias = weights.get(self.ids.bias);
        match write {
            Write::Over => fill_rows(y, bias),
            Write::Add => add_to_rows(y, bias),
        }
        let x = View::new(x, x.len() / (y.len() / bias.len()));
        matmul(self.precision, y, Write::Add, 1.0, x, self.weight(weights));
    }

    /// `dx` ← dy·Wᵀ.
    pub(super) fn backward_input(&self, weights: Weights<'_>, dy: &[f32], dx: &mut [f32]) {
        let weight = self.weight(weights);
        let outputs = weights.get(self.ids.bias).len();
        let dy = View::new(dy, outputs);
        matmul(self.precision, dx, Write::Over, 1.0, dy, weight.t());
    }

    /// dW += xᵀ·dy, db += Σ dy.
    pub(super) fn backward_weights(&self, gradients: &mut Gradients<'_>, x: &[f32], dy: &[f32]) {
        if x.is_empty() {
            return;
        }
        let bias = gradients.get_mut(self.ids.bias);
        let outputs = bias.len();
        add_column_sums(dy, bias);
        let x = View::new(x, x.len() / (dy.len() / outputs));
        let weight = gradients.get_mut(self.ids.weight);
        let dy = View::new(dy, outputs);
        matmul(self.precision, weight, Write::Add, 1.0, x.t(), dy);
    }
}

/// Layer normalization.
#[derive(Debug, Clone, Copy)]
pub(super) struct Norm {
    pub(super) ids: Affine,
    pub(super) epsilon: f32,
}

impl Norm {
    /// `y` ← the norm of x; `stats` are kept for the rest.
    pub(super) fn forward(
        &self,
        weights: Weights<'_>,
        x: &[f32],
        stats: &mut [RowStats],
        y: &mut [f32],
    ) {
        cpu::layer_norm_stats(x, self.epsilon, stats);
        self.again(weights, x, stats, y);
    }

    /// `y` ← the norm of x, from its stats: cheaper to compute again than to keep.
    pub(super) fn again(&self, weights: Weights<'_>, x: &[f32], stats: &[RowStats], y: &mut [f32]) {
        let (weight, bias) = (weights.get(self.ids.weight), weights.get(self.ids.bias));
        cpu::layer_norm(x, stats, weight, bias, y);
    }

    /// Adds the gradient of x to `dx`.
    pub(super) fn backward(
        &self,
        (weights, gradients): (Weights<'_>, &mut Gradients<'_>),
        (x, stats): (&[f32], &[RowStats]),
        dy: &[f32],
        dx: &mut [f32],
    ) {
        let weight = weights.get(self.ids.weight);
        let (dw, db) = gradients.get_two_mut(self.ids.weight, self.ids.bias);
        cpu::layer_norm_backward(x, stats, weight, dy, dx, dw, db);
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
    pub(super) fn forward(
        &self,
        weights: Weights<'_>,
        tokens: &[u32],
        positions: &[u32],
        x: &mut [f32],
    ) {
        let width = x.len() / tokens.len().max(1);
        let (by_token, by_position) = (weights.matrix(self.tokens), weights.get(self.positions));
        let rows = x.chunks_exact_mut(width.max(1)).zip(tokens).zip(positions);
        for ((x, token), position) in rows {
            by_token.copy(*token as usize * width, x);
            let position = &by_position[*position as usize * width..][..width];
            x.iter_mut()
                .zip(position)
                .for_each(|(x, position)| *x += position);
        }
    }

    /// Adds each row of `dx` to the gradients of its token and position.
    pub(super) fn backward(
        &self,
        gradients: &mut Gradients<'_>,
        tokens: &[u32],
        positions: &[u32],
        dx: &[f32],
    ) {
        let width = dx.len() / tokens.len().max(1);
        for (table, ids) in [(self.tokens, tokens), (self.positions, positions)] {
            let table = gradients.get_mut(table);
            for (dx, id) in dx.chunks_exact(width.max(1)).zip(ids) {
                let row = &mut table[*id as usize * width..][..width];
                row.iter_mut().zip(dx).for_each(|(sum, dx)| *sum += dx);
            }
        }
    }
}
