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

/// What a block's backward pass needs beside its input: 9 floats a token and unit of width for
/// GPT-2's sizes. The norms' and the nonlinearity's outputs are not among them: they are computed
/// again.
#[derive(Debug, Default)]
pub(super) struct Saved {
    stats_1: Vec<RowStats>,
    pub(super) qkv: Buffer,
    log_sums: Buffer,
    mixed: Buffer,
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

    /// `x` [n, D] ← the output, keeping in `saved` what [`backward`](Self::backward) needs.
    pub(super) fn forward(
        &self,
        weights: Weights<'_>,
        segments: &Segments,
        (input, x): (&[f32], &mut [f32]),
        saved: &mut Saved,
        scratch: &mut Scratch,
    ) {
        self.save(weights, segments, input, saved, scratch);
        x.copy_from_slice(&saved.middle[..x.len()]);
        let wide = segments.rows() * self.inner_width;
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
        let middle = saved.middle.at_least(size);
        middle.copy_from_slice(input);
        self.attention_out
            .forward(weights, mixed, middle, Write::Add);
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
        self.backward_mlp(weights, gradients, segments.rows(), dx, kept.1, scratch);
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
        self.attention_out
            .backward_weights(gradients, attended.output, dx);
        self.attention_out.backward_input(weights, dx, d_mixed);
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
