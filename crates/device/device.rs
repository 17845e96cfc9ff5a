//! What a device does.

use crate::rows::{LogRows, Rows};
use crate::{
    AdamWStep, Attended, AttentionShape, CachedPrompt, CachedRow, Epilogue, Matrix, Nonlinearity,
    PairMut, Precision, RowGradient, Slice, SliceMut, Stored, StoredMut, Trained, Write,
};
use std::borrow::Cow;
use std::fmt::Debug;
use std::ops::Range;

/// A place where numbers live and are computed with: memory, and the operations that a transformer is
/// made of, each with its backward pass. Nothing here knows a language model.
///
/// Operations are as coarse as the fused CPU kernels: biases belong to products, logits are overwritten
/// by their gradients, the softmax of attention is never stored, weights are packed once for decoding.
/// A device that has finer ones calls several.
///
/// Matrices are row-major; n are rows (tokens), D is the width of a row, V the number of vocabulary
/// entries. Numbers a row or a token come and go as host slices; rows of V numbers stay where they are
/// and are lent as [`Rows`]. The answers of one build on one machine do not depend on the number of
/// threads or on the order in which a device happens to finish.
///
/// # Panics
/// Every operation panics where sizes do not fit: who calls has checked what comes from a user.
pub trait Device: Clone + Debug + Send + Sync + Sized + 'static {
    /// Floats in the device's memory; none where it is new.
    type Buffer: Debug + Default + Send + Sync;
    /// Who attends to whom in a batch.
    type Segments: Debug + Send + Sync;
    /// What each row's normalization needs again.
    type NormStats: Debug + Default + Send + Sync;
    /// What each row of logits comes to: log Σ exp(logit) and the entropy, nats.
    type RowSummaries: Debug + Default + Send + Sync;
    /// A matrix packed for products of few rows.
    type Packed: Debug + Default + Send + Sync;
    /// The keys and values of one sequence in every layer.
    type Cache: Debug + Clone + Send + Sync;

    /// Runs a whole pass of many operations where starting each of them costs least.
    fn run<T: Send>(&self, pass: impl FnOnce() -> T + Send) -> T;

    // Memory.

    /// `length` zeros.
    fn zeroed(&self, length: usize) -> Self::Buffer;

    /// The first `length` floats of a buffer, after growing to that many where there are fewer: then all
    /// are zero, else they hold what they held. It never shrinks.
    fn at_least<'a>(&self, buffer: &'a mut Self::Buffer, length: usize) -> SliceMut<'a, Self>;

    /// Grows a buffer to at least `length` floats, of which the first `kept` hold what they held.
    fn grow(&self, buffer: &mut Self::Buffer, kept: usize, length: usize);

    /// All zero.
    fn clear(&self, x: SliceMut<'_, Self>);

    /// `to` ← `from`.
    fn copy(&self, from: Slice<'_, Self>, to: SliceMut<'_, Self>);

    /// Numbers on the host, in f32, which holds either type exactly: copied, unless they lie there.
    fn to_host<'a>(&self, numbers: Stored<'a, Self>) -> Cow<'a, [f32]>;

    /// Takes numbers from the host, each as the nearest there is, ties to even.
    fn write(&self, values: &[f32], to: StoredMut<'_, Self>);

    // Products.

    /// `c` ← (`c` +) `scale`·`a`·`b`, with operands rounded as `precision` says.
    fn matmul(
        &self,
        precision: Precision,
        c: SliceMut<'_, Self>,
        into: Write,
        scale: f32,
        a: Matrix<'_, Self>,
        b: Matrix<'_, Self>,
    );

    /// `y` [n, out] ← (`y` +) x·W + b, for `x` [n, in] and W [in, out].
    fn linear(
        &self,
        precision: Precision,
        x: Slice<'_, Self>,
        weight_and_bias: (Matrix<'_, Self>, Slice<'_, Self>),
        y: SliceMut<'_, Self>,
        into: Write,
    );

    /// Adds the sum of all rows of `x` [n, D] to `sums` \[D\]: a bias's gradient.
    fn add_column_sums(&self, x: Slice<'_, Self>, sums: SliceMut<'_, Self>);

    // Norms and nonlinearities.

    /// Layer normalization (Ba et al. 2016) of each row of `x` [n, D]: y = (x − mean)/√(var + ε)·w + b,
    /// with the biased variance. `stats` are kept for the rest.
    fn layer_norm(
        &self,
        x: Slice<'_, Self>,
        epsilon: f32,
        stats: &mut Self::NormStats,
        affine: [Slice<'_, Self>; 2],
        y: SliceMut<'_, Self>,
    );

    /// The same `y` from the `stats`: cheaper to compute again than to keep.
    fn layer_norm_again(
        &self,
        x: Slice<'_, Self>,
        stats: &Self::NormStats,
        affine: [Slice<'_, Self>; 2],
        y: SliceMut<'_, Self>,
    );

    /// Its backward pass: adds to `dx` [n, D], and to the gradients of w and b where they are trained.
    fn layer_norm_backward(
        &self,
        x_and_stats: (Slice<'_, Self>, &Self::NormStats),
        weight: Slice<'_, Self>,
        dy: Slice<'_, Self>,
        dx: SliceMut<'_, Self>,
        d_affine: Option<PairMut<'_, Self>>,
    );

    /// `y` ← f(x), elementwise.
    fn activate(&self, kind: Nonlinearity, x: Slice<'_, Self>, y: SliceMut<'_, Self>);

    /// `y` ← f(x) once more, and `gradient` ← `gradient`·f′(x).
    fn activate_backward(
        &self,
        kind: Nonlinearity,
        x: Slice<'_, Self>,
        y: SliceMut<'_, Self>,
        gradient: SliceMut<'_, Self>,
    );

    // Embeddings and rows.

    /// `x` [n, D] ← the row of each token in its table plus that of its position in the other.
    fn embed(
        &self,
        tokens_and_table: (&[u32], Stored<'_, Self>),
        positions_and_table: (&[u32], Slice<'_, Self>),
        x: SliceMut<'_, Self>,
    );

    /// Adds each row of `dx` [n, D] to the row of its id in `table`, the gradient of an embedding.
    fn embed_backward(&self, ids: &[u32], dx: Slice<'_, Self>, table: SliceMut<'_, Self>);

    /// `to` [R, D] ← these rows of `from` [n, D].
    fn gather_rows(&self, rows: &[usize], from: Slice<'_, Self>, to: SliceMut<'_, Self>);

    /// Adds each row of `from` [R, D] to one of `to` [n, D].
    fn scatter_add_rows(&self, rows: &[usize], from: Slice<'_, Self>, to: SliceMut<'_, Self>);

    /// The first rows of `x`, of `width` floats, ← these rows of it, repetition allowed.
    fn keep_rows(&self, x: &mut Self::Buffer, width: usize, rows: &[usize]);

    // Attention.

    /// From each segment's rows and parent. The segments lie one behind the other from row 0, a parent
    /// before its children.
    fn segments(&self, segments: &[(Range<usize>, Option<usize>)]) -> Self::Segments;

    /// Causal attention of every head over segments: a segment attends to itself, up to each row, and to
    /// the whole of its ancestors. `qkv` [n, 3D] → `output` [n, D], and the log of each softmax's
    /// denominator, `log_sums` [n, heads], which the backward pass needs.
    fn attention(
        &self,
        segments: &Self::Segments,
        shape: AttentionShape,
        qkv: Slice<'_, Self>,
        output: SliceMut<'_, Self>,
        log_sums: SliceMut<'_, Self>,
    );

    /// Its backward pass: `d_output` [n, D] → `d_qkv` [n, 3D], overwritten.
    fn attention_backward(
        &self,
        segments: &Self::Segments,
        shape: AttentionShape,
        attended: Attended<'_, Self>,
        d_output: Slice<'_, Self>,
        d_qkv: SliceMut<'_, Self>,
    );

    // What is read off hidden states.

    /// Summarizes each row of `logits` [R, V] at `first` and the places behind it, and answers the
    /// log-probability of one token a row, nats: \[R\].
    fn log_probs(
        &self,
        logits: Slice<'_, Self>,
        targets: &[u32],
        summaries: &mut Self::RowSummaries,
        first: usize,
    ) -> Vec<f32>;

    /// The entropies of the first `rows` rows that were summarized, nats.
    fn entropies(&self, summaries: &Self::RowSummaries, rows: usize) -> Vec<f32>;

    /// `logits` [R, V] ← their gradient times `scale`, from those of each row's log-probability and
    /// entropy. The rows' summaries begin at `first`.
    fn log_softmax_backward(
        &self,
        logits: SliceMut<'_, Self>,
        summaries_and_first: (&Self::RowSummaries, usize),
        of_rows: &[RowGradient],
        scale: f32,
    );

    /// One number a row: hidden·w (+ b), for `hidden` [R, D] and `weight` \[D\].
    fn numbers(
        &self,
        hidden: Slice<'_, Self>,
        weight: Slice<'_, Self>,
        bias: Option<Slice<'_, Self>>,
    ) -> Vec<f32>;

    /// From the gradients of these numbers: adds to that of the hidden states, and to that of the weight
    /// where it is trained.
    fn numbers_backward(
        &self,
        of_numbers: &[f32],
        hidden: Slice<'_, Self>,
        weight: Slice<'_, Self>,
        d_hidden: SliceMut<'_, Self>,
        d_weight: Option<SliceMut<'_, Self>>,
    );

    /// Adds the sum of `numbers` to the one float of `sum`.
    fn add_total(&self, numbers: &[f32], sum: SliceMut<'_, Self>);

    // Rows of V numbers.

    /// Lends rows of `vocab` numbers as they lie.
    fn lend<'a>(&self, numbers: Slice<'a, Self>, vocab: usize) -> Rows<'a>;

    /// The rows of `scale`·`a`·`b`, in memory of their own.
    fn product_rows(
        &self,
        precision: Precision,
        scale: f32,
        a: Matrix<'_, Self>,
        b: Matrix<'_, Self>,
    ) -> Rows<'static>;

    /// Log-distributions from their scores and the summaries that begin at `first`.
    fn log_rows<'a>(
        &self,
        scores: Rows<'a>,
        summaries: &Self::RowSummaries,
        first: usize,
    ) -> LogRows<'a>;

    /// From the gradient of the rows of `scale`·hidden·Wᵀ, for `hidden` [R, D] and W [V, D]: adds to that
    /// of the hidden states, and to that of W where it is trained.
    fn product_rows_backward(
        &self,
        precision_and_scale: (Precision, f32),
        d_rows: &Rows<'_>,
        hidden_and_weight: (Matrix<'_, Self>, Matrix<'_, Self>),
        d_hidden: SliceMut<'_, Self>,
        d_weight: Option<SliceMut<'_, Self>>,
    );

    // Decoding.

    /// Packs a matrix [k, n] in memory that is there, which grows if it has to.
    fn pack(
        &self,
        memory: Self::Buffer,
        precision: Precision,
        matrix: Matrix<'_, Self>,
    ) -> Self::Packed;

    /// Gives back the memory of a packed matrix, whatever it holds.
    fn unpack(&self, packed: Self::Packed) -> Self::Buffer;

    /// `c` [m, n] ← (`c` +) scale·`x`·matrix + bias, for `x` [m, k]. `scratch` is reused between calls.
    fn multiply_packed(
        &self,
        x: Slice<'_, Self>,
        matrix: &Self::Packed,
        epilogue: Epilogue<'_, Self>,
        scratch: &mut Self::Buffer,
        c: SliceMut<'_, Self>,
    );

    /// An empty cache for `layers` layers and at least `room` tokens.
    fn cache(&self, layers: usize, shape: AttentionShape, room: usize) -> Self::Cache;

    /// How many tokens fit in a cache.
    fn room(&self, cache: &Self::Cache) -> usize;

    /// Stores the keys and values of prompts in a layer of their caches; `qkv` is [n, 3D].
    fn cache_prompts(
        &self,
        prompts: &mut [CachedPrompt<'_, Self>],
        layer: usize,
        qkv: Slice<'_, Self>,
    );

    /// Takes the key and value of each row's newest token from its `qkv` [R, 3D] into a layer of its
    /// cache, and attends with its query to it and all before it: `output` [R, D].
    fn attend_cached(
        &self,
        rows: &mut [CachedRow<'_, Self>],
        layer: usize,
        shape: AttentionShape,
        qkv: Slice<'_, Self>,
        output: SliceMut<'_, Self>,
    );

    // Parameters.

    /// Σx², accumulated in f64.
    fn sum_of_squares(&self, x: Slice<'_, Self>) -> f64;

    /// One step of AdamW over all `trained` parameters, clearing their gradients as it goes. `moments`
    /// are the first and the second, which lie as the gradients do.
    fn adamw_step(
        &self,
        step: AdamWStep<'_>,
        trained: &[Trained],
        weights: &mut Self::Buffer,
        gradients: &mut Self::Buffer,
        moments: [&mut Self::Buffer; 2],
    );
}
