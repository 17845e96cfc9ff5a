//! What operations are told beside the numbers they work on.

use crate::{Device, Slice};
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
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionShape {
    /// The number of heads.
    pub heads: usize,
    /// The width of each; D = heads · head_width.
    pub head_width: usize,
    /// What scores are multiplied by.
    pub scale: f32,
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
    /// Queries, keys and values, [n, 3D].
    pub qkv: Slice<'a, D>,
    /// The output, [n, D].
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
