//! The sizes and kinds of operations.

/// The precision to which the operands of matrix products are rounded. Sums are f32, and so is everything
/// between products.
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

/// Whether an operation overwrites its destination or adds to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// Overwrites it without reading it.
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
    /// The number of key-value heads. Query head h reads key-value head h / (heads / kv_heads). Fewer than
    /// `heads` are grouped-query attention (Ainslie et al. 2023), and 1 is multi-query attention.
    pub kv_heads: usize,
    /// w: the width of each head.
    pub head_width: usize,
    /// The factor of the scores, usually 1/√w.
    pub scale: f32,
    /// Sliding-window attention: a token attends to the newest `window` tokens of its path of ancestors, itself
    /// included. `None` is attention to all of them.
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

/// How a group of numbers x is normalized.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Norm {
    /// Layer or root-mean-square normalization.
    pub kind: NormKind,
    /// ε, which is added to the variance or the mean square.
    pub epsilon: f32,
    /// Added to each weight before it is applied: usually 0, and 1 for checkpoints that store w − 1 (Gemma).
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

/// The gradient of a loss with respect to a token's log-probability and the entropy of a row of logits.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RowGradient {
    /// The token whose log-probability the loss depends on.
    pub target: u32,
    /// The gradient with respect to that log-probability.
    pub log_prob: f32,
    /// The gradient with respect to the row's entropy.
    pub entropy: f32,
}
