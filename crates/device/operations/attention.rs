//! Attention, in batches and with cached keys and values.

use crate::{
    Attended, AttentionShape, CachedPrompt, CachedRow, DeviceTypes, Rope, Slice, SliceMut,
};
use std::ops::Range;

/// Attention and rotary positions.
pub trait Attention: DeviceTypes {
    /// From each segment's rows and parent. The segments lie one behind the other from row 0, a parent
    /// before its children.
    fn segments(&self, segments: &[(Range<usize>, Option<usize>)]) -> Self::Segments;

    /// Rotates queries and keys by their positions (Su et al. 2021) in place: of each head in the query
    /// and key parts of `qkv` [n, [`AttentionShape::qkv_width`]], the numbers i and i + rotary/2, for i below
    /// rotary/2, are the plane that angle i turns, as transformers' `rotate_half` pairs them. What lies
    /// behind the first `rotary` numbers of a head stays as it is. `positions` holds one a row.
    fn rope(
        &self,
        shape: AttentionShape,
        rope: Rope<'_, Self>,
        positions: &[u32],
        qkv: SliceMut<'_, Self>,
    );

    /// The backward pass of [`rope`](Self::rope), in place: the gradient of `qkv` after the rotation
    /// becomes that before it, by the transposed rotation.
    fn rope_backward(
        &self,
        shape: AttentionShape,
        rope: Rope<'_, Self>,
        positions: &[u32],
        d_qkv: SliceMut<'_, Self>,
    );

    /// Causal attention of every head over segments: a row attends to its own segment up to itself, and
    /// to the ancestors of the segment; of all these to the newest `window` tokens where there is a window.
    /// `qkv` [n, [`AttentionShape::qkv_width`]] → `output` [n, [`AttentionShape::query_width`]], and the log
    /// of each softmax's denominator, `log_sums` [n, heads], which the backward pass needs.
    fn attention(
        &self,
        segments: &Self::Segments,
        shape: AttentionShape,
        qkv: Slice<'_, Self>,
        output: SliceMut<'_, Self>,
        log_sums: SliceMut<'_, Self>,
    );

    /// The backward pass of [`attention`](Self::attention): `d_output`, as wide as the output, → `d_qkv`,
    /// as wide as qkv, overwritten.
    fn attention_backward(
        &self,
        segments: &Self::Segments,
        shape: AttentionShape,
        attended: Attended<'_, Self>,
        d_output: Slice<'_, Self>,
        d_qkv: SliceMut<'_, Self>,
    );

    /// An empty cache of at least `room` tokens for layers of these shapes. A layer with a window keeps
    /// all its tokens: what the window saves is time.
    fn cache(&self, layers: &[AttentionShape], room: usize) -> Self::Cache;

    /// How many tokens fit in a cache.
    fn room(&self, cache: &Self::Cache) -> usize;

    /// Stores the keys and values of prompts in a layer of their caches, from the rows of `qkv` that the
    /// prompts name; keys have been rotated.
    fn cache_prompts(
        &self,
        prompts: &mut [CachedPrompt<'_, Self>],
        layer: usize,
        qkv: Slice<'_, Self>,
    );

    /// Takes the key and value of each row's newest token from its `qkv` [R, qkv width] into a layer of
    /// its cache, and attends with its query to it and to the tokens before it, as many as the layer's
    /// window has: `output` [R, query width].
    ///
    /// # Panics
    /// If the caches of the rows are of other shapes than each other's.
    fn attend_cached(
        &self,
        rows: &mut [CachedRow<'_, Self>],
        layer: usize,
        qkv: Slice<'_, Self>,
        output: SliceMut<'_, Self>,
    );
}
