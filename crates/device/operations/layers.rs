//! Normalizations, nonlinearities and embeddings.

use crate::{
    Columns, ColumnsMut, DeviceTypes, Nonlinearity, Norm, NormGradients, NormWeights, Slice,
    SliceMut, Stored, Write,
};

/// The operations between the matrix products of a transformer, each with its backward pass.
pub trait Layers: DeviceTypes {
    /// `y` ← the normalization of `x` that [`Norm`] defines. The columns of a row are cut into groups of as many
    /// numbers as there are weights, and each group is normalized by itself: the row of a residual stream is
    /// one group, and in the query or key part of a row of qkv each head can be a group. `stats` receives the
    /// statistics of the groups for the backward pass.
    fn norm(
        &self,
        norm: Norm,
        x: Columns<'_, Self>,
        stats: &mut Self::NormStats,
        weights: NormWeights<'_, Self>,
        y: ColumnsMut<'_, Self>,
    );

    /// The same `y` from `stats`. Computing it again is cheaper than keeping it.
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

    /// The same in place: `gradient`, the gradient of `y`, is overwritten with that of `x`.
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

    /// A gated linear unit (Shazeer 2020): `y` [n, inner] ← f(gate)·up, for rows [gate | up] of `x`
    /// [n, 2·inner].
    fn activate_gated(
        &self,
        kind: Nonlinearity,
        inner: usize,
        x: Slice<'_, Self>,
        y: SliceMut<'_, Self>,
    );

    /// The backward pass of [`activate_gated`](Self::activate_gated): `dx` [n, 2·inner] ← the gradient of `x`
    /// from `dy` [n, inner], the gradient of `y`. It computes `y` again as well.
    fn activate_gated_backward(
        &self,
        kind: Nonlinearity,
        x_and_inner: (Slice<'_, Self>, usize),
        y: SliceMut<'_, Self>,
        dy: Slice<'_, Self>,
        dx: SliceMut<'_, Self>,
    );

    /// `x` [n, D] ← (`x` +) `scale`·the row of each id in `table`. Token embeddings are written with
    /// [`Write::Over`], and learned position embeddings are then added with [`Write::Add`].
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

    /// The first rows of `x`, of `width` floats each, ← these rows of `x`. A row may be named several times.
    fn keep_rows(&self, x: &mut Self::Buffer, width: usize, rows: &[usize]);
}
