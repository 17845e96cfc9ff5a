//! Groups of slices that operations take together.

use crate::shapes::Write;
use crate::{DeviceTypes, PairMut, Slice, SliceMut};
use std::ops::Range;

/// The tables of a rotary position embedding.
#[derive(Debug)]
pub struct Rope<'a, D: DeviceTypes> {
    /// The cosine of each angle at each position, [positions, rotary/2]. A factor that scales what is rotated
    /// (yarn's attention factor) is part of both tables.
    pub cos: Slice<'a, D>,
    /// The sine of each angle at each position, [positions, rotary/2].
    pub sin: Slice<'a, D>,
    /// How many of the first numbers of each head are rotated: even, at most the head's width.
    pub rotary: usize,
}

impl<D: DeviceTypes> Clone for Rope<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: DeviceTypes> Copy for Rope<'_, D> {}

/// The weights of a normalization, one for each number of a group.
#[derive(Debug)]
pub struct NormWeights<'a, D: DeviceTypes> {
    /// The weights w.
    pub weight: Slice<'a, D>,
    /// The biases b, if the normalization has them.
    pub bias: Option<Slice<'a, D>>,
}

impl<D: DeviceTypes> Clone for NormWeights<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: DeviceTypes> Copy for NormWeights<'_, D> {}

/// The gradients of a normalization's weights and biases, to which a backward pass adds.
#[derive(Debug)]
pub enum NormGradients<'a, D: DeviceTypes> {
    /// The weights are frozen: there is no gradient.
    Frozen,
    /// The gradient of w.
    Weight(SliceMut<'a, D>),
    /// The gradients of w and b.
    WeightAndBias(PairMut<'a, D>),
}

/// What a product with a packed matrix is scaled by and added to before it is written.
#[derive(Debug)]
pub struct Epilogue<'a, D: DeviceTypes> {
    /// A number for each column, to add.
    pub bias: Option<Slice<'a, D>>,
    /// The factor of the product, applied before the bias is added.
    pub scale: f32,
    /// Whether the result is added to the destination or overwrites it.
    pub write: Write,
}

/// The input and the results of [`Attention::attention`](crate::Attention::attention), for its backward pass.
#[derive(Debug)]
pub struct Attended<'a, D: DeviceTypes> {
    /// Queries, keys and values, [n, [`qkv_width`](crate::AttentionShape::qkv_width)].
    pub qkv: Slice<'a, D>,
    /// The output, [n, [`query_width`](crate::AttentionShape::query_width)].
    pub output: Slice<'a, D>,
    /// The log of each softmax's denominator, [n, heads].
    pub log_sums: Slice<'a, D>,
}

/// A sequence whose prompt is to be cached.
#[derive(Debug)]
pub struct CachedPrompt<'a, D: DeviceTypes> {
    /// The cache that receives its keys and values, from position 0 on.
    pub cache: &'a mut D::Cache,
    /// The rows of its tokens in the batch.
    pub rows: Range<usize>,
}

/// A sequence whose newest token attends to the cached ones.
#[derive(Debug)]
pub struct CachedRow<'a, D: DeviceTypes> {
    /// The keys and values of the tokens before the newest one.
    pub cache: &'a mut D::Cache,
    /// How many tokens are cached, which is the position of the newest one.
    pub position: usize,
}
