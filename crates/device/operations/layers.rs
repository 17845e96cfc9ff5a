//! Normalizations, nonlinearities and embeddings.

use crate::{
    Columns, ColumnsMut, DeviceTypes, Nonlinearity, Norm, NormGradients, NormWeights, Slice,
    SliceMut, Stored, Write,
};

/// What lies between the products of a transformer, each operation with its backward pass.
pub trait Layers: DeviceTypes {
    /// `y` ← the normalization of `x`, as [`Norm`] defines it. The columns of a row are normalized in
    /// groups of as many numbers as there are weights, each group by itself: one group is the whole row of
    /// a residual stream, several are the heads in the query or key part of rows of qkv. `stats` receives
    /// what the backward pass needs of each group.
    fn norm(
        &self,
        norm: Norm,
        x: Columns<'_, Self>,
        stats: &mut Self::NormStats,
        weights: NormWeights<'_, Self>,
        y: ColumnsMut<'_, Self>,
    );

    /// The same `y` from the `stats`: cheaper to compute again than to keep.
    fn norm_again(
        &self,
        norm: Norm,
        x: Columns<'_, Self>,
        stats: &Self::NormStats,
        weights: NormWeights<'_, Self>,
        y: ColumnsMut<'_, Self>,
    );

    /// The backward pass of [`norm`](Self::norm): `dx` ← (`dx` +) the gradient of `x` from that of `y`,
    /// `dy`; and adds to the gradients of the weights.
    #[allow(clippy::too_many_arguments)]
    fn norm_backward(
        &self,
        norm: Norm,
        x_and_stats: (Columns<'_, Self>, &Self::NormStats),
        weight: Slice<'_, Self>,
        dy: Columns<'_, Self>,
        dx: ColumnsMut<'_, Self>,
        into: Write,
        d_weights: NormGradients<'_, Self>,
    );

    /// The same in place: `gradient` is that of `y` and becomes that of `x`.
    fn norm_backward_in_place(
        &self,
        norm: Norm,
        x_and_stats: (Columns<'_, Self>, &Self::NormStats),
        weight: Slice<'_, Self>,
        gradient: ColumnsMut<'_, Self>,
        d_weights: NormGradients<'_, Self>,
    );

    /// `y` ← f(x), elementwise.
    fn activate(&self, kind: Nonlinearity, x: Slice<'_, Self>, y: SliceMut<'_, Self>);

    /// `y` ← f(x) again, and `gradient` ← `gradient`·f′(x).
    fn activate_backward(
        &self,
        kind: Nonlinearity,
        x: Slice<'_, Self>,
        y: SliceMut<'_, Self>,
        gradient: SliceMut<'_, Self>,
    );

    /// A gated linear unit (Shazeer 2020): `y` [n, inner] ← f(gate)·up, for rows of `x` [n, 2·inner] that
    /// hold the gate's numbers and behind them those that it multiplies.
    fn activate_gated(
        &self,
        kind: Nonlinearity,
        inner: usize,
        x: Slice<'_, Self>,
        y: SliceMut<'_, Self>,
    );

    /// Its backward pass: `y` again, and `dx` [n, 2·inner] ← the gradient of both parts from that of `y`,
    /// `dy` [n, inner].
    fn activate_gated_backward(
        &self,
        kind: Nonlinearity,
        x_and_inner: (Slice<'_, Self>, usize),
        y: SliceMut<'_, Self>,
        dy: Slice<'_, Self>,
        dx: SliceMut<'_, Self>,
    );

    /// `x` [n, D] ← (`x` +) `scale`·the row of each id in `table`. Tokens are read with [`Write::Over`],
    /// and learned positions added with [`Write::Add`].
    fn embed(
        &self,
        ids: &[u32],
        table: Stored<'_, Self>,
        scale: f32,
        x: SliceMut<'_, Self>,
        into: Write,
    );

    /// Adds `scale`·each row of `dx` [n, D] to the row of its id in `table`, the gradient of an embedding.
    fn embed_backward(
        &self,
        ids: &[u32],
        scale: f32,
        dx: Slice<'_, Self>,
        table: SliceMut<'_, Self>,
    );

    /// `to` [R, D] ← these rows of `from` [n, D].
    fn gather_rows(&self, rows: &[usize], from: Slice<'_, Self>, to: SliceMut<'_, Self>);

    /// Adds each row of `from` [R, D] to one of `to` [n, D].
    fn scatter_add_rows(&self, rows: &[usize], from: Slice<'_, Self>, to: SliceMut<'_, Self>);

    /// The first rows of `x`, of `width` floats, ← these rows of it, repetition allowed.
    fn keep_rows(&self, x: &mut Self::Buffer, width: usize, rows: &[usize]);
}
