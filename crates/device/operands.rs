//! What operations are told beside the numbers they work on.

use crate::{Device, PairMut, Slice, SliceMut};
use std::ops::Range;

/// What the operands of matrix products are rounded to. Sums are f32, and so is all between products.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Not rounded.
    #[default]
    F32,
    /// Rounded to bf16: the range of f32 with 8 bits of precision, so each operand moves by at most
    /// one part in 256. Fast where the processor has avx512_bf16; elsewhere operands are rounded and
    /// then multiplied in f32.
    Bf16,
}

/// What a product does with what the destination holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// Overwrites it, unread.
    Over,
    /// Adds to it.
    Add,
}

/// A nonlinearity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nonlinearity {
    /// x·Φ(x) by the tanh approximation (Hendrycks & Gimpel 2016, §2), which equals
    /// x·σ(2√(2/π)(x + 0.044715x³)).
    GeluNew,
    /// x·Φ(x), with Φ to 1.5·10⁻⁷ (Abramowitz & Stegun 7.1.26).
    Gelu,
    /// max(x, 0), of slope 0 at 0.
    Relu,
    /// x·σ(x).
    Silu,
}

/// The sizes of an attention layer.
///
/// A row of its input qkv holds the queries of all heads, then the keys and then the values of all key-value
/// heads: [heads·w | kv_heads·w | kv_heads·w] with w the head width. A row of its output holds what each
/// query head computed: [heads·w].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionShape {
    /// The number of query heads, a multiple of `kv_heads`.
    pub heads: usize,
    /// The number of heads that keys and values have: query head h reads key-value head
    /// h / (heads / kv_heads). Below `heads` it is grouped-query attention (Ainslie et al. 2023), and
    /// multi-query attention where it is 1.
    pub kv_heads: usize,
    /// w: the width of each head.
    pub head_width: usize,
    /// What scores are multiplied by: usually 1/√w.
    pub scale: f32,
    /// How many tokens a token attends to at most, itself included: the newest ones before it along its own
    /// path of ancestors. All of them where there is none.
    pub window: Option<usize>,
}

impl AttentionShape {
    /// Query heads that read the same key-value head.
    #[inline]
    #[must_use]
    pub fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// The width of the queries of a token, and of a row of the output.
    #[inline]
    #[must_use]
    pub fn query_width(&self) -> usize {
        self.heads * self.head_width
    }

    /// The width of the keys of a token, and of its values.
    #[inline]
    #[must_use]
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_width
    }

    /// The width of a row of queries, keys and values.
    #[inline]
    #[must_use]
    pub fn qkv_width(&self) -> usize {
        self.query_width() + 2 * self.kv_width()
    }
}

/// The tables of a rotary position embedding.
#[derive(Debug)]
pub struct Rope<'a, D: Device> {
    /// The cosine of each angle at each position, [positions, rotary/2]. A factor that scales what is rotated
    /// (yarn's attention factor) is part of both tables.
    pub cos: Slice<'a, D>,
    /// The sine of the same.
    pub sin: Slice<'a, D>,
    /// How many numbers of each head are rotated, the first ones: even, at most the head's width.
    pub rotary: usize,
}

impl<D: Device> Clone for Rope<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Device> Copy for Rope<'_, D> {}

/// What a normalization does with a group of numbers x.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Norm {
    /// What is subtracted and divided by.
    pub kind: NormKind,
    /// ε, which is added to the variance or the mean square.
    pub epsilon: f32,
    /// What is added to each weight before it multiplies: 0, or 1 where checkpoints hold the difference
    /// to 1 (Gemma).
    pub weight_offset: f32,
}

/// A kind of normalization.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// Layer normalization (Ba et al. 2016): y = (x − mean)/√(var + ε)·w (+ b), with the biased variance.
    Layer,
    /// Root-mean-square normalization (Zhang & Sennrich 2019): y = x/√(mean(x²) + ε)·w (+ b).
    Rms,
}

/// The weights of a normalization, one for each number of a group.
#[derive(Debug)]
pub struct NormWeights<'a, D: Device> {
    /// w.
    pub weight: Slice<'a, D>,
    /// b, of normalizations that have it.
    pub bias: Option<Slice<'a, D>>,
}

impl<D: Device> Clone for NormWeights<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Device> Copy for NormWeights<'_, D> {}

/// The gradients of a normalization's weights that a backward pass adds to.
#[derive(Debug)]
pub enum NormGradients<'a, D: Device> {
    /// None: the weights are frozen.
    Frozen,
    /// That of w.
    Weight(SliceMut<'a, D>),
    /// Those of w and b.
    WeightAndBias(PairMut<'a, D>),
}

/// The gradient of a loss with respect to what a row of logits says.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RowGradient {
    /// The entry whose log-probability the loss sees.
    pub target: u32,
    /// The gradient with respect to that log-probability.
    pub log_prob: f32,
    /// The gradient with respect to the row's entropy.
    pub entropy: f32,
}

/// What is added to a product with a packed matrix before it is written.
#[derive(Debug)]
pub struct Epilogue<'a, D: Device> {
    /// One number a column, if any.
    pub bias: Option<Slice<'a, D>>,
    /// What the product is multiplied by, before the bias.
    pub scale: f32,
    /// Whether the destination is added to.
    pub write: Write,
}

/// What [`Device::attention`] was given and answered, for its backward pass.
#[derive(Debug)]
pub struct Attended<'a, D: Device> {
    /// Queries, keys and values, [n, [`AttentionShape::qkv_width`]].
    pub qkv: Slice<'a, D>,
    /// The output, [n, [`AttentionShape::query_width`]].
    pub output: Slice<'a, D>,
    /// The logs of the denominators, [n, heads].
    pub log_sums: Slice<'a, D>,
}

/// A sequence whose prompt has just been read.
#[derive(Debug)]
pub struct CachedPrompt<'a, D: Device> {
    /// Where its keys and values go, from position 0 on.
    pub cache: &'a mut D::Cache,
    /// The rows of its tokens among those that were read.
    pub rows: Range<usize>,
}

/// A sequence to attend from with its newest token.
#[derive(Debug)]
pub struct CachedRow<'a, D: Device> {
    /// The keys and values of the tokens before it.
    pub cache: &'a mut D::Cache,
    /// How many there are: the position of its newest token.
    pub position: usize,
}
