//! Numbers that operations take together.

use crate::shapes::Write;
use crate::{DeviceTypes, PairMut, Slice, SliceMut};
use std::ops::Range;

/// The tables of a rotary position embedding.
#[derive(Debug)]
pub struct Rope<'a, D: DeviceTypes> {
    /// The cosine of each angle at each position, [positions, rotary/2]. A factor that scales what is rotated
    /// (yarn's attention factor) is part of both tables.
    pub cos: Slice<'a, D>,
    /// The sine of the same.
    pub sin: Slice<'a, D>,
    /// How many numbers of each head are rotated, the first ones: even, at most the head's width.
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
    /// w.
    pub weight: Slice<'a, D>,
    /// b, of normalizations that have it.
    pub bias: Option<Slice<'a, D>>,
}

impl<D: DeviceTypes> Clone for NormWeights<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: DeviceTypes> Copy for NormWeights<'_, D> {}

/// The gradients of a normalization's weights that a backward pass adds to.
#[derive(Debug)]
pub enum NormGradients<'a, D: DeviceTypes> {
    /// None: the weights are frozen.
    Frozen,
    /// That of w.
    Weight(SliceMut<'a, D>),
    /// Those of w and b.
    WeightAndBias(PairMut<'a, D>),
}

/// What is added to a product with a packed matrix before it is written.
#[derive(Debug)]
pub struct Epilogue<'a, D: DeviceTypes> {
    /// One number a column, if any.
    pub bias: Option<Slice<'a, D>>,
    /// What the product is multiplied by, before the bias.
    pub scale: f32,
    /// Whether the destination is added to.
    pub write: Write,
}

/// What [`Device::attention`] was given and answered, for its backward pass.
#[derive(Debug)]
pub struct Attended<'a, D: DeviceTypes> {
    /// Queries, keys and values, [n, [`AttentionShape::qkv_width`]].
    pub qkv: Slice<'a, D>,
    /// The output, [n, [`AttentionShape::query_width`]].
    pub output: Slice<'a, D>,
    /// The logs of the denominators, [n, heads].
    pub log_sums: Slice<'a, D>,
}

/// A sequence whose prompt has just been read.
#[derive(Debug)]
pub struct CachedPrompt<'a, D: DeviceTypes> {
    /// Where its keys and values go, from position 0 on.
    pub cache: &'a mut D::Cache,
    /// The rows of its tokens among those that were read.
    pub rows: Range<usize>,
}

/// A sequence to attend from with its newest token.
#[derive(Debug)]
pub struct CachedRow<'a, D: DeviceTypes> {
    /// The keys and values of the tokens before it.
    pub cache: &'a mut D::Cache,
    /// How many there are: the position of its newest token.
    pub position: usize,
}
