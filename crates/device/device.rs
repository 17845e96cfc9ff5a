//! What a device does.

use crate::rows::{LogRows, Rows};
use crate::{
    AdamWStep, Attended, AttentionShape, CachedPrompt, CachedRow, Columns, ColumnsMut, Epilogue,
    Matrix, Nonlinearity, Norm, NormGradients, NormWeights, Precision, Rope, RowGradient, Slice,
    SliceMut, Stored, StoredMut, Trained, Write,
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
    /// What the backward pass of a normalization needs of each group that was normalized.
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

    /// `y` [n, out] ← (`y` +) x·W (+ b), for `x` [n, in] and W [in, out]. A weight that is stored as
    /// [out, in] is passed as [`Matrix::t`] of it.
    fn linear(
        &self,
        precision: Precision,
        x: Slice<'_, Self>,
        weight_and_bias: (Matrix<'_, Self>, Option<Slice<'_, Self>>),
        y: SliceMut<'_, Self>,
        into: Write,
    );

    /// Adds the sum of all rows of `x` [n, D] to `sums` \[D\]: a bias's gradient.
    fn add_column_sums(&self, x: Slice<'_, Self>, sums: SliceMut<'_, Self>);

    // Norms and nonlinearities.

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

    // Embeddings and rows.

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

    // Attention.

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

    /// Packs a matrix [k, n], row-major or the transpose of one that is, in the given memory, which grows if
    /// it has to.
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
