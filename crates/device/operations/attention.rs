//! Attention, in batches and with cached keys and values.

use crate::{
    Attended, AttentionShape, CachedPrompt, CachedRow, DeviceTypes, Rope, Slice, SliceMut,
};
use std::ops::Range;

/// Attention and rotary positions.
pub trait Attention: DeviceTypes {
    /// Prepares the segments of a batch, given as each segment's rows and its parent. Segments follow each
    /// other from row 0 on, parents before children.
    fn segments(&self, segments: &[(Range<usize>, Option<usize>)]) -> Self::Segments;

    /// Applies rotary position embeddings (Su et al. 2021) in place to each query and key head in the rows of
    /// `qkv` [n, [`AttentionShape::qkv_width`]]. Numbers i and i + rotary/2 of a head, for i below rotary/2, are
    /// rotated by angle i of the row's position, as transformers' `rotate_half` pairs them. The numbers after
    /// the first `rotary` ones do not change. `positions` has one entry per row.
    fn rope(
        &self,
        shape: AttentionShape,
        rope: Rope<'_, Self>,
        positions: &[u32],
        qkv: SliceMut<'_, Self>,
    );

    /// The backward pass of [`rope`](Self::rope), in place: applies the transposed rotation to the gradient of
    /// `qkv`.
    fn rope_backward(
        &self,
        shape: AttentionShape,
        rope: Rope<'_, Self>,
        positions: &[u32],
        d_qkv: SliceMut<'_, Self>,
    );

    /// Causal attention of every head over segments. A row attends to its own segment up to itself and to all
    /// ancestors of the segment, or to the newest `window` of these tokens if the shape has a window.
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

    /// An empty cache with room for at least `room` tokens, for layers of these shapes. A layer with a window
    /// stores all tokens too; the window saves time, not memory.
    fn cache(&self, layers: &[AttentionShape], room: usize) -> Self::Cache;

    /// How many tokens fit in a cache.
    fn room(&self, cache: &Self::Cache) -> usize;

    /// Stores the keys and values of prompts in a layer of their caches. `qkv` holds the rows of all prompts,
    /// with rotary embeddings already applied.
    fn cache_prompts(
        &self,
        prompts: &mut [CachedPrompt<'_, Self>],
        layer: usize,
        qkv: Slice<'_, Self>,
    );

    /// Appends the key and value of each row's newest token, from `qkv` [R, qkv width], to a layer of the row's
    /// cache, and computes the attention of its queries to the cached tokens, or to the newest `window` of
    /// them: `output` [R, query width].
    ///
    /// # Panics
    /// If the shapes of the caches differ.
    fn attend_cached(
        &self,
        rows: &mut [CachedRow<'_, Self>],
        layer: usize,
        qkv: Slice<'_, Self>,
        output: SliceMut<'_, Self>,
    );
}
