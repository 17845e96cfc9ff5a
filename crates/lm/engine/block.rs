//! One transformer block: attention and a feed-forward layer, each added to the residual stream, with norms
//! where the spec places them.

use super::modules::{Linear, Norm, QueryKeyNorm, QueryKeyStats, normalized};
use super::ropes::Ropes;
use rlhf_device::{AttentionShape, Device, Slice, SliceMut, Write};
use rlhf_models::{Gate, MlpSpec, NormPlace, Residual};
use rlhf_tensor::Weights;

/// A block's layers and sizes.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// D.
    pub(super) width: usize,
    pub(super) place: NormPlace,
    pub(super) residual: Residual,
    pub(super) attention_norms: Norms,
    pub(super) qkv: Linear,
    pub(super) query_key_norm: Option<QueryKeyNorm>,
    /// The number of its rotation among the network's tables, if positions are rotary.
    pub(super) rope: Option<usize>,
    pub(super) attention: AttentionShape,
    pub(super) attention_out: Linear,
    pub(super) mlp_norms: Norms,
    /// The first product of the feed-forward layer, of its gate too.
    pub(super) up: Linear,
    pub(super) mlp: MlpSpec,
    pub(super) down: Linear,
}

/// The norm of what a layer reads, and the one of what it answers (or of its sum with the residual
/// stream: [`NormPlace::OnSum`]).
#[derive(Debug, Clone, Copy)]
pub(super) struct Norms {
    pub(super) before: Option<Norm>,
    pub(super) after: Option<Norm>,
}

/// What the blocks of a pass have in common.
#[derive(Debug)]
pub(super) struct Pass<'a, D: Device> {
    pub(super) weights: Weights<'a, D>,
    pub(super) segments: &'a D::Segments,
    pub(super) positions: &'a [u32],
    pub(super) ropes: &'a Ropes<D>,
}

impl<D: Device> Clone for Pass<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Device> Copy for Pass<'_, D> {}

/// The rows of a batch that a block computes after its attention: in the last block only the tokens whose
/// outputs are needed, each as often as it predicts.
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

/// What a layer keeps of its norms.
#[derive(Debug)]
pub(super) struct SavedNorms<D: Device> {
    pub(super) before: D::NormStats,
    pub(super) after: D::NormStats,
    /// What the norm after the layer reads.
    pub(super) answer: D::Buffer,
}

impl<D: Device> Default for SavedNorms<D> {
    fn default() -> Self {
        Self {
            before: D::NormStats::default(),
            after: D::NormStats::default(),
            answer: D::Buffer::default(),
        }
    }
}

/// What a block's backward pass needs beside its input: 9 floats a token and unit of width for
/// GPT-2's sizes. The outputs of the norms before layers and of the nonlinearity are not among them: they
/// are computed again.
#[derive(Debug)]
pub(super) struct Saved<D: Device> {
    pub(super) attention_norms: SavedNorms<D>,
    /// Queries, keys and values before their norms, where they have norms.
    pub(super) projected: D::Buffer,
    pub(super) query_key: QueryKeyStats<D>,
    pub(super) qkv: D::Buffer,
    pub(super) log_sums: D::Buffer,
    pub(super) mixed: D::Buffer,
    /// The chosen rows of `mixed`, where only some are computed.
    pub(super) chosen: D::Buffer,
    /// The chosen rows of the input, where only some are computed and the layer reads them again.
    pub(super) source: D::Buffer,
    /// The residual stream between the two layers.
    pub(super) middle: D::Buffer,
    pub(super) mlp_norms: SavedNorms<D>,
    pub(super) inner: D::Buffer,
}

impl<D: Device> Default for Saved<D> {
    fn default() -> Self {
        Self {
            attention_norms: SavedNorms::default(),
            projected: D::Buffer::default(),
            query_key: QueryKeyStats::default(),
            qkv: D::Buffer::default(),
            log_sums: D::Buffer::default(),
            mixed: D::Buffer::default(),
            chosen: D::Buffer::default(),
            source: D::Buffer::default(),
            middle: D::Buffer::default(),
            mlp_norms: SavedNorms::default(),
            inner: D::Buffer::default(),
        }
    }
}

/// What blocks need while they compute, shared by all of them.
#[derive(Debug)]
pub(super) struct Scratch<D: Device> {
    /// The output of a norm, [n, D].
    pub(super) normed: D::Buffer,
    /// A gradient as wide as the residual stream or the queries.
    pub(super) gradient: D::Buffer,
    /// The gradient of a layer's answer, where a norm reads it.
    pub(super) answer_gradient: D::Buffer,
    /// What attention mixed, while a parallel feed-forward layer goes back.
    pub(super) parallel_gradient: D::Buffer,
    /// The activations of the feed-forward layer.
    pub(super) wide: D::Buffer,
    /// Their gradient, where a gate makes two of it.
    pub(super) gated_gradient: D::Buffer,
    /// The gradient of what they are computed from, or of queries, keys and values.
    pub(super) wide_gradient: D::Buffer,
}

impl<D: Device> Default for Scratch<D> {
    fn default() -> Self {
        Self {
            normed: D::Buffer::default(),
            gradient: D::Buffer::default(),
            answer_gradient: D::Buffer::default(),
            parallel_gradient: D::Buffer::default(),
            wide: D::Buffer::default(),
            gated_gradient: D::Buffer::default(),
            wide_gradient: D::Buffer::default(),
        }
    }
}

impl Block {
    /// `x` [R, D] ← the output of the R rows that go on, keeping in `saved` what
    /// [`backward`](Self::backward) needs.
    pub(super) fn forward<D: Device>(
        &self,
        pass: Pass<'_, D>,
        onward: Onward<'_>,
        (input, mut x): (Slice<'_, D>, SliceMut<'_, D>),
        saved: &mut Saved<D>,
        scratch: &mut Scratch<D>,
    ) {
        let device = pass.weights.device();
        self.save(pass, onward, input, saved, scratch);
        let (middle, n) = (Slice::first(&saved.middle, x.len()), x.len() / self.width);
        if self.mlp_norms.after.is_none() {
            device.copy(middle, x.reborrow());
            let active = self.activate(device, &saved.inner, n, &mut scratch.wide);
            self.down.forward(pass.weights, active, x, Write::Add);
            return;
        }
        device.copy(Slice::first(&scratch.normed, x.len()), x.reborrow());
        if self.place != NormPlace::OnSum {
            device.add(middle, x);
        }
    }

    /// All of [`forward`](Self::forward) but the output: what the backward pass needs, from the
    /// block's input [n, D]. The same numbers each time. Where a norm reads the answer of the feed-forward
    /// layer, its output is left in the scratch memory.
    pub(super) fn save<D: Device>(
        &self,
        pass: Pass<'_, D>,
        onward: Onward<'_>,
        input: Slice<'_, D>,
        saved: &mut Saved<D>,
        scratch: &mut Scratch<D>,
    ) {
        self.attend(pass, input, saved, &mut scratch.normed);
        self.add_attended(pass, onward, input, saved);
        let (weights, device) = (pass.weights, pass.weights.device());
        let n = onward.count(input.len() / self.width);
        let source = match (self.residual, onward) {
            (Residual::Serial, _) => Slice::first(&saved.middle, n * self.width),
            (Residual::Parallel, Onward::All) => input,
            (Residual::Parallel, Onward::Rows(_)) => Slice::first(&saved.source, n * self.width),
        };
        let norms = &mut saved.mlp_norms;
        let before = &self.mlp_norms.before;
        let read = normalized(
            before,
            weights,
            source,
            &mut norms.before,
            &mut scratch.normed,
        );
        let inner = device.at_least(&mut saved.inner, n * self.mlp.expanded());
        self.up.forward(weights, read, inner, Write::Over);
        let Some(norm) = &self.mlp_norms.after else {
            return;
        };
        let active = self.activate(device, &saved.inner, n, &mut scratch.wide);
        let mut answer = device.at_least(&mut norms.answer, n * self.width);
        let write = match self.place {
            NormPlace::OnSum => {
                let middle = Slice::first(&saved.middle, n * self.width);
                device.copy(middle, answer.reborrow());
                Write::Add
            }
            _ => Write::Over,
        };
        self.down.forward(weights, active, answer.reborrow(), write);
        let normed = device.at_least(&mut scratch.normed, n * self.width);
        norm.forward(weights, answer.read(), &mut norms.after, normed);
    }

    /// `saved.mixed` [n, query width] ← what attention answers.
    fn attend<D: Device>(
        &self,
        pass: Pass<'_, D>,
        input: Slice<'_, D>,
        saved: &mut Saved<D>,
        normed: &mut D::Buffer,
    ) {
        let (weights, device) = (pass.weights, pass.weights.device());
        let (n, shape) = (input.len() / self.width, self.attention);
        let stats = &mut saved.attention_norms.before;
        let read = normalized(&self.attention_norms.before, weights, input, stats, normed);
        let mut qkv = device.at_least(&mut saved.qkv, n * shape.qkv_width());
        match &self.query_key_norm {
            None => self.qkv.forward(weights, read, qkv.reborrow(), Write::Over),
            Some(norm) => {
                let mut projected = device.at_least(&mut saved.projected, qkv.len());
                self.qkv
                    .forward(weights, read, projected.reborrow(), Write::Over);
                let stats = &mut saved.query_key;
                norm.forward(weights, shape, projected.read(), stats, qkv.reborrow());
            }
        }
        if let Some(rope) = self.rope {
            device.rope(shape, pass.ropes.get(rope), pass.positions, qkv.reborrow());
        }
        let mixed = device.at_least(&mut saved.mixed, n * shape.query_width());
        let log_sums = device.at_least(&mut saved.log_sums, n * shape.heads);
        device.attention(pass.segments, shape, qkv.read(), mixed, log_sums);
    }

    /// `saved.middle` [R, D] ← the rows of the residual stream that go on, with what attention adds.
    fn add_attended<D: Device>(
        &self,
        pass: Pass<'_, D>,
        onward: Onward<'_>,
        input: Slice<'_, D>,
        saved: &mut Saved<D>,
    ) {
        let (weights, device) = (pass.weights, pass.weights.device());
        let n = input.len() / self.width;
        let rows = onward.count(n);
        let (size, query_width) = (rows * self.width, self.attention.query_width());
        let mixed = Slice::first(&saved.mixed, n * query_width);
        let mixed = match onward {
            Onward::All => mixed,
            Onward::Rows(rows) => {
                let mut chosen = device.at_least(&mut saved.chosen, rows.len() * query_width);
                device.gather_rows(rows, mixed, chosen.reborrow());
                Slice::first(&saved.chosen, rows.len() * query_width)
            }
        };
        let go_on = |into: SliceMut<'_, D>| match onward {
            Onward::All => device.copy(input, into),
            Onward::Rows(rows) => device.gather_rows(rows, input, into),
        };
        let mut middle = device.at_least(&mut saved.middle, size);
        if (self.residual, matches!(onward, Onward::Rows(_))) == (Residual::Parallel, true) {
            go_on(device.at_least(&mut saved.source, size));
        }
        let Some(norm) = &self.attention_norms.after else {
            go_on(middle.reborrow());
            self.attention_out
                .forward(weights, mixed, middle, Write::Add);
            return;
        };
        let norms = &mut saved.attention_norms;
        let mut answer = device.at_least(&mut norms.answer, size);
        if self.place == NormPlace::OnSum {
            go_on(answer.reborrow());
            self.attention_out
                .forward(weights, mixed, answer.reborrow(), Write::Add);
            norm.forward(weights, answer.read(), &mut norms.after, middle);
            return;
        }
        self.attention_out
            .forward(weights, mixed, answer.reborrow(), Write::Over);
        norm.forward(weights, answer.read(), &mut norms.after, middle.reborrow());
        match onward {
            Onward::All => device.add(input, middle),
            Onward::Rows(_) => {
                let mut source = device.at_least(&mut saved.source, size);
                go_on(source.reborrow());
                device.add(source.read(), middle);
            }
        }
    }

    /// The activations [n, inner], computed from `inner` [n, expanded].
    fn activate<'a, D: Device>(
        &self,
        device: &D,
        inner: &D::Buffer,
        n: usize,
        into: &'a mut D::Buffer,
    ) -> Slice<'a, D> {
        let inner = Slice::first(inner, n * self.mlp.expanded());
        let active = device.at_least(into, n * self.mlp.inner);
        match self.mlp.gate {
            Gate::None => device.activate(self.mlp.activation, inner, active),
            Gate::Gated => {
                device.activate_gated(self.mlp.activation, self.mlp.inner, inner, active)
            }
        }
        Slice::first(into, n * self.mlp.inner)
    }
}
