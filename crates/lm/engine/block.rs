//! One transformer block: x += attention(norm(x)), x += mlp(norm(x)) (Radford et al. 2019, §2.3).

use super::modules::{Linear, Norm};
use rlhf_device::{Attended, AttentionShape, Device, Nonlinearity, Slice, SliceMut, Write};
use rlhf_tensor::{Gradients, Weights};

/// A block's layers and sizes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    pub(super) norm_1: Norm,
    pub(super) qkv: Linear,
    pub(super) attention: AttentionShape,
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
#[derive(Debug)]
pub(super) struct Saved<D: Device> {
    stats_1: D::NormStats,
    pub(super) qkv: D::Buffer,
    log_sums: D::Buffer,
    mixed: D::Buffer,
    /// The rows of `mixed` that go on, where not all do.
    chosen: D::Buffer,
    middle: D::Buffer,
    stats_2: D::NormStats,
    inner: D::Buffer,
}

impl<D: Device> Default for Saved<D> {
    fn default() -> Self {
        Self {
            stats_1: D::NormStats::default(),
            qkv: D::Buffer::default(),
            log_sums: D::Buffer::default(),
            mixed: D::Buffer::default(),
            chosen: D::Buffer::default(),
            middle: D::Buffer::default(),
            stats_2: D::NormStats::default(),
            inner: D::Buffer::default(),
        }
    }
}

/// What blocks need while they compute, shared by all of them.
#[derive(Debug)]
pub(super) struct Scratch<D: Device> {
    normed: D::Buffer,
    gradient: D::Buffer,
    wide: D::Buffer,
    wide_gradient: D::Buffer,
}

impl<D: Device> Default for Scratch<D> {
    fn default() -> Self {
        Self {
            normed: D::Buffer::default(),
            gradient: D::Buffer::default(),
            wide: D::Buffer::default(),
            wide_gradient: D::Buffer::default(),
        }
    }
}

impl Block {
    fn width(&self) -> usize {
        self.attention.heads * self.attention.head_width
    }

    /// `x` [R, D] ← the output of the R rows that go on, keeping in `saved` what
    /// [`backward`](Self::backward) needs.
    pub(super) fn forward<D: Device>(
        &self,
        weights: Weights<'_, D>,
        segments: &D::Segments,
        onward: Onward<'_>,
        (input, mut x): (Slice<'_, D>, SliceMut<'_, D>),
        saved: &mut Saved<D>,
        scratch: &mut Scratch<D>,
    ) {
        let device = weights.device();
        self.save(weights, segments, onward, input, saved, scratch);
        device.copy(Slice::first(&saved.middle, x.len()), x.reborrow());
        let wide = onward.count(input.len() / self.width()) * self.inner_width;
        let inner = Slice::first(&saved.inner, wide);
        let mut active = device.at_least(&mut scratch.wide, wide);
        device.activate(self.nonlinearity, inner, active.reborrow());
        self.inner_out
            .forward(weights, active.read(), x, Write::Add);
    }

    /// All of [`forward`](Self::forward) but the output: what the backward pass needs, from the
    /// block's input [n, D]. The same numbers each time.
    pub(super) fn save<D: Device>(
        &self,
        weights: Weights<'_, D>,
        segments: &D::Segments,
        onward: Onward<'_>,
        input: Slice<'_, D>,
        saved: &mut Saved<D>,
        scratch: &mut Scratch<D>,
    ) {
        let (device, size) = (weights.device(), input.len());
        let n = size / self.width();
        let mut normed = device.at_least(&mut scratch.normed, size);
        self.norm_1
            .forward(weights, input, &mut saved.stats_1, normed.reborrow());
        let mut qkv = device.at_least(&mut saved.qkv, 3 * size);
        self.qkv
            .forward(weights, normed.read(), qkv.reborrow(), Write::Over);
        let mut mixed = device.at_least(&mut saved.mixed, size);
        let log_sums = device.at_least(&mut saved.log_sums, n * self.attention.heads);
        device.attention(
            segments,
            self.attention,
            qkv.read(),
            mixed.reborrow(),
            log_sums,
        );
        let n = onward.count(n);
        let size = n * self.width();
        let mut middle = device.at_least(&mut saved.middle, size);
        let mixed = match onward {
            Onward::All => {
                device.copy(input, middle.reborrow());
                mixed
            }
            Onward::Rows(rows) => {
                let mut chosen = device.at_least(&mut saved.chosen, size);
                device.gather_rows(rows, mixed.read(), chosen.reborrow());
                device.gather_rows(rows, input, middle.reborrow());
                chosen
            }
        };
        self.attention_out
            .forward(weights, mixed.read(), middle.reborrow(), Write::Add);
        let mut normed = device.at_least(&mut scratch.normed, size);
        self.norm_2.forward(
            weights,
            middle.read(),
            &mut saved.stats_2,
            normed.reborrow(),
        );
        let inner = device.at_least(&mut saved.inner, n * self.inner_width);
        self.inner
            .forward(weights, normed.read(), inner, Write::Over);
    }

    /// `dx` [n, D], the gradient of the output, becomes that of the input. `kept` are the input and
    /// what was saved of it.
    pub(super) fn backward<D: Device>(
        &self,
        weights: Weights<'_, D>,
        gradients: &mut Gradients<'_, D>,
        segments: &D::Segments,
        mut dx: SliceMut<'_, D>,
        kept: (Slice<'_, D>, &Saved<D>),
        scratch: &mut Scratch<D>,
    ) {
        let mixed = Slice::first(&kept.1.mixed, dx.len());
        self.backward_mlp(weights, gradients, dx.reborrow(), kept.1, scratch);
        self.backward_mixed(weights, gradients, mixed, dx.read(), scratch);
        self.backward_attention(weights, gradients, segments, dx, kept, scratch);
    }

    /// The same where `rows` went on: `d_rows` [R, D] is the gradient of their output, `dx` [n, D] ←
    /// that of the input.
    pub(super) fn backward_rows<D: Device>(
        &self,
        weights: Weights<'_, D>,
        gradients: &mut Gradients<'_, D>,
        segments: &D::Segments,
        (rows, mut d_rows, mut dx): (&[usize], SliceMut<'_, D>, SliceMut<'_, D>),
        kept: (Slice<'_, D>, &Saved<D>),
        scratch: &mut Scratch<D>,
    ) {
        let device = weights.device();
        let mixed = Slice::first(&kept.1.chosen, d_rows.len());
        self.backward_mlp(weights, gradients, d_rows.reborrow(), kept.1, scratch);
        self.backward_mixed(weights, gradients, mixed, d_rows.read(), scratch);
        device.clear(dx.reborrow());
        device.scatter_add_rows(rows, d_rows.read(), dx.reborrow());
        let mut d_mixed = device.at_least(&mut scratch.wide, dx.len());
        device.clear(d_mixed.reborrow());
        let of_rows = Slice::first(&scratch.gradient, d_rows.len());
        device.scatter_add_rows(rows, of_rows, d_mixed.reborrow());
        let gradient = device.at_least(&mut scratch.gradient, dx.len());
        device.copy(d_mixed.read(), gradient);
        self.backward_attention(weights, gradients, segments, dx, kept, scratch);
    }

    fn backward_mlp<D: Device>(
        &self,
        weights: Weights<'_, D>,
        gradients: &mut Gradients<'_, D>,
        dx: SliceMut<'_, D>,
        saved: &Saved<D>,
        scratch: &mut Scratch<D>,
    ) {
        let (device, size) = (weights.device(), dx.len());
        let wide = size / self.width() * self.inner_width;
        let mut active = device.at_least(&mut scratch.wide, wide);
        let mut d_inner = device.at_least(&mut scratch.wide_gradient, wide);
        self.inner_out
            .backward_input(weights, dx.read(), d_inner.reborrow());
        device.activate_backward(
            self.nonlinearity,
            Slice::first(&saved.inner, wide),
            active.reborrow(),
            d_inner.reborrow(),
        );
        self.inner_out
            .backward_weights((weights, gradients), active.read(), dx.read());

        let mut normed = device.at_least(&mut scratch.normed, size);
        let mut d_normed = device.at_least(&mut scratch.gradient, size);
        let (middle, stats) = (Slice::first(&saved.middle, size), &saved.stats_2);
        self.norm_2.again(weights, middle, stats, normed.reborrow());
        self.inner
            .backward_weights((weights, gradients), normed.read(), d_inner.read());
        self.inner
            .backward_input(weights, d_inner.read(), d_normed.reborrow());
        self.norm_2
            .backward((weights, gradients), (middle, stats), d_normed.read(), dx);
    }

    /// Leaves the gradient of what attention mixed in the scratch memory.
    fn backward_mixed<D: Device>(
        &self,
        weights: Weights<'_, D>,
        gradients: &mut Gradients<'_, D>,
        mixed: Slice<'_, D>,
        dx: Slice<'_, D>,
        scratch: &mut Scratch<D>,
    ) {
        let d_mixed = weights.device().at_least(&mut scratch.gradient, dx.len());
        self.attention_out
            .backward_weights((weights, gradients), mixed, dx);
        self.attention_out.backward_input(weights, dx, d_mixed);
    }

    /// Adds to `dx` what comes through attention.
    fn backward_attention<D: Device>(
        &self,
        weights: Weights<'_, D>,
        gradients: &mut Gradients<'_, D>,
        segments: &D::Segments,
        dx: SliceMut<'_, D>,
        (input, saved): (Slice<'_, D>, &Saved<D>),
        scratch: &mut Scratch<D>,
    ) {
        let (device, size) = (weights.device(), dx.len());
        let n = size / self.width();
        let mut normed = device.at_least(&mut scratch.normed, size);
        let d_mixed = device.at_least(&mut scratch.gradient, size);
        let mut d_qkv = device.at_least(&mut scratch.wide_gradient, 3 * size);
        let attended = Attended {
            qkv: Slice::first(&saved.qkv, 3 * size),
            output: Slice::first(&saved.mixed, size),
            log_sums: Slice::first(&saved.log_sums, n * self.attention.heads),
        };
        let (shape, d_output) = (self.attention, d_mixed.read());
        device.attention_backward(segments, shape, attended, d_output, d_qkv.reborrow());

        let stats = &saved.stats_1;
        let mut d_normed = d_mixed;
        self.norm_1.again(weights, input, stats, normed.reborrow());
        self.qkv
            .backward_weights((weights, gradients), normed.read(), d_qkv.read());
        self.qkv
            .backward_input(weights, d_qkv.read(), d_normed.reborrow());
        self.norm_1
            .backward((weights, gradients), (input, stats), d_normed.read(), dx);
    }
}
