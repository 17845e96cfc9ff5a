//! One transformer block: x += attention(norm(x)), x += mlp(norm(x)) (Radford et al. 2019, §2.3).

use super::modules::{Linear, Norm};
use rlhf_tensor::cpu::{
    Attended, Buffer, Heads, Nonlinearity, RowStats, Segments, Write, activate, activate_backward,
    attention, attention_backward,
};
use rlhf_tensor::{Gradients, Weights};

/// A block's layers and sizes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    pub(super) norm_1: Norm,
    pub(super) qkv: Linear,
    pub(super) heads: Heads,
    pub(super) attention_out: Linear,
    pub(super) norm_2: Norm,
    pub(super) inner: Linear,
    pub(super) nonlinearity: Nonlinearity,
    pub(super) inner_out: Linear,
    /// The width of the feed-forward layer.
    pub(super) inner_width: usize,
}

/// Which tokens of a batch go on behind a block's attention: of the last block only those are asked
/// about that predict something, and a token may be asked about several times.
#[derive(Debug, Clone, Copy)]
pub(super) enum Onward<'a> {
    /// All, in order.
    All,
    /// The rows of these.
    Rows(&'a [usize]),
}

impl Onward<'_> {
    /// How many of `n` rows go on.
    pub(super) fn count(&self, n: usize) -> usize {
        match self {
            Self::All => n,
            Self::Rows(rows) => rows.len(),
        }
    }
}

/// What a block's backward pass needs beside its input: 9 floats a token and unit of width for
/// GPT-2's sizes. The norms' and the nonlinearity's outputs are not among them: they are computed
/// again.
#[derive(Debug, Default)]
pub(super) struct Saved {
    stats_1: Vec<RowStats>,
    pub(super) qkv: Buffer,
    log_sums: Buffer,
    mixed: Buffer,
    /// The rows of `mixed` that go on, where not all do.
    chosen: Buffer,
    middle: Buffer,
    stats_2: Vec<RowStats>,
    inner: Buffer,
}

/// What blocks need while they compute, shared by all of them.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    normed: Buffer,
    gradient: Buffer,
    wide: Buffer,
    wide_gradient: Buffer,
}

/// `stats` made at least `n` long.
fn stats_of(stats: &mut Vec<RowStats>, n: usize) -> &mut [RowStats] {
    if stats.len() < n {
        stats.resize(n, RowStats::default());
    }
    &mut stats[..n]
}

impl Block {
    fn width(&self) -> usize {
        self.heads.count * self.heads.width
    }

    /// `x` [R, D] ← the output of the R rows that go on, keeping in `saved` what
    /// [`backward`](Self::backward) needs.
    pub(super) fn forward(
        &self,
        weights: Weights<'_>,
        segments: &Segments,
        onward: Onward<'_>,
        (input, x): (&[f32], &mut [f32]),
        saved: &mut Saved,
        scratch: &mut Scratch,
    ) {
        self.save(weights, segments, onward, input, saved, scratch);
        x.copy_from_slice(&saved.middle[..x.len()]);
        let wide = onward.count(segments.rows()) * self.inner_width;
        let active = scratch.wide.at_least(wide);
        activate(self.nonlinearity, &saved.inner[..wide], active);
        self.inner_out.forward(weights, active, x, Write::Add);
    }

    /// All of [`forward`](Self::forward) but the output: what the backward pass needs, from the
    /// block's input [n, D]. The same numbers each time.
    pub(super) fn save(
        &self,
        weights: Weights<'_>,
        segments: &Segments,
        onward: Onward<'_>,
        input: &[f32],
        saved: &mut Saved,
        scratch: &mut Scratch,
    ) {
        let (n, size) = (segments.rows(), input.len());
        let normed = scratch.normed.at_least(size);
        self.norm_1
            .forward(weights, input, stats_of(&mut saved.stats_1, n), normed);
        let qkv = saved.qkv.at_least(3 * size);
        self.qkv.forward(weights, normed, qkv, Write::Over);
        let mixed = saved.mixed.at_least(size);
        let log_sums = saved.log_sums.at_least(n * self.heads.count);
        attention(segments, self.heads, qkv, mixed, log_sums);
        let n = onward.count(n);
        let size = n * self.width();
        let middle = saved.middle.at_least(size);
        let mixed = match onward {
            Onward::All => {
                middle.copy_from_slice(input);
                mixed
            }
            Onward::Rows(rows) => {
                let chosen = saved.chosen.at_least(size);
                gather(rows, mixed, chosen);
                gather(rows, input, middle);
                chosen
            }
        };
        self.attention_out
            .forward(weights, mixed, middle, Write::Add);
        let normed = scratch.normed.at_least(size);
        self.norm_2
            .forward(weights, middle, stats_of(&mut saved.stats_2, n), normed);
        let inner = saved.inner.at_least(n * self.inner_width);
        self.inner.forward(weights, normed, inner, Write::Over);
    }

    /// `dx` [n, D], the gradient of the output, becomes that of the input. `kept` are the input and
    /// what was saved of it.
    pub(super) fn backward(
        &self,
        weights: Weights<'_>,
        gradients: &mut Gradients<'_>,
        segments: &Segments,
        dx: &mut [f32],
        kept: (&[f32], &Saved),
        scratch: &mut Scratch,
    ) {
        let mixed = &kept.1.mixed[..dx.len()];
        self.backward_mlp(weights, gradients, segments.rows(), dx, kept.1, scratch);
        self.backward_mixed(weights, gradients, mixed, dx, scratch);
        self.backward_attention(weights, gradients, segments, dx, kept, scratch);
    }

    /// The same where `rows` went on: `d_rows` [R, D] is the gradient of their output, `dx` [n, D] ←
    /// that of the input.
    pub(super) fn backward_rows(
        &self,
        weights: Weights<'_>,
        gradients: &mut Gradients<'_>,
        segments: &Segments,
        (rows, d_rows, dx): (&[usize], &mut [f32], &mut [f32]),
        kept: (&[f32], &Saved),
        scratch: &mut Scratch,
    ) {
        let mixed = &kept.1.chosen[..d_rows.len()];
        self.backward_mlp(weights, gradients, rows.len(), d_rows, kept.1, scratch);
        self.backward_mixed(weights, gradients, mixed, d_rows, scratch);
        dx.fill(0.0);
        scatter_add(rows, d_rows, dx);
        let d_mixed = scratch.wide.at_least(dx.len());
        d_mixed.fill(0.0);
        scatter_add(rows, &scratch.gradient[..d_rows.len()], d_mixed);
        scratch.gradient.at_least(dx.len()).copy_from_slice(d_mixed);
        self.backward_attention(weights, gradients, segments, dx, kept, scratch);
    }

    fn backward_mlp(
        &self,
        weights: Weights<'_>,
        gradients: &mut Gradients<'_>,
        n: usize,
        dx: &mut [f32],
        saved: &Saved,
        scratch: &mut Scratch,
    ) {
        let (size, wide) = (n * self.width(), n * self.inner_width);
        let (active, d_inner) = (
            scratch.wide.at_least(wide),
            scratch.wide_gradient.at_least(wide),
        );
        self.inner_out.backward_input(weights, dx, d_inner);
        activate_backward(self.nonlinearity, &saved.inner[..wide], active, d_inner);
        self.inner_out.backward_weights(gradients, active, dx);

        let (normed, d_normed) = (
            scratch.normed.at_least(size),
            scratch.gradient.at_least(size),
        );
        let (middle, stats) = (&saved.middle[..size], &saved.stats_2[..n]);
        self.norm_2.again(weights, middle, stats, normed);
        self.inner.backward_weights(gradients, normed, d_inner);
        self.inner.backward_input(weights, d_inner, d_normed);
        self.norm_2
            .backward((weights, gradients), (middle, stats), d_normed, dx);
    }

    /// Leaves the gradient of what attention mixed in the scratch memory.
    fn backward_mixed(
        &self,
        weights: Weights<'_>,
        gradients: &mut Gradients<'_>,
        mixed: &[f32],
        dx: &[f32],
        scratch: &mut Scratch,
    ) {
        let d_mixed = scratch.gradient.at_least(dx.len());
        self.attention_out.backward_weights(gradients, mixed, dx);
        self.attention_out.backward_input(weights, dx, d_mixed);
    }

    /// Adds to `dx` what comes through attention.
    fn backward_attention(
        &self,
        weights: Weights<'_>,
        gradients: &mut Gradients<'_>,
        segments: &Segments,
        dx: &mut [f32],
        (input, saved): (&[f32], &Saved),
        scratch: &mut Scratch,
    ) {
        let (n, size) = (segments.rows(), dx.len());
        let (normed, d_mixed) = (
            scratch.normed.at_least(size),
            scratch.gradient.at_least(size),
        );
        let d_qkv = scratch.wide_gradient.at_least(3 * size);
        let attended = Attended {
            qkv: &saved.qkv[..3 * size],
            output: &saved.mixed[..size],
            log_sums: &saved.log_sums[..n * self.heads.count],
        };
        attention_backward(segments, self.heads, attended, d_mixed, d_qkv);

        let stats = &saved.stats_1[..n];
        let d_normed = d_mixed;
        self.norm_1.again(weights, input, stats, normed);
        self.qkv.backward_weights(gradients, normed, d_qkv);
        self.qkv.backward_input(weights, d_qkv, d_normed);
        self.norm_1
            .backward((weights, gradients), (input, stats), d_normed, dx);
    }
}

/// `to` [R, D] ← these rows of `from` [n, D].
fn gather(rows: &[usize], from: &[f32], to: &mut [f32]) {
    let width = to.len() / rows.len().max(1);
    for (row, to) in rows.iter().zip(to.chunks_exact_mut(width.max(1))) {
        to.copy_from_slice(&from[row * width..][..width]);
    }
}

/// Adds each row of `from` [R, D] to one of `to` [n, D].
fn scatter_add(rows: &[usize], from: &[f32], to: &mut [f32]) {
    let width = from.len() / rows.len().max(1);
    for (row, from) in rows.iter().zip(from.chunks_exact(width.max(1))) {
        let to = &mut to[row * width..][..width];
        to.iter_mut().zip(from).for_each(|(sum, x)| *sum += x);
    }
}
