//! One block over the newest token of each of a few rows, with packed weights and cached keys and values.

use super::block::{Block, Norms};
use super::modules::{QueryKeyStats, normalized};
use super::packed_linear::PackedLinear;
use super::ropes::Ropes;
use rlhf_device::{CachedRow, Device, Slice, SliceMut, Write};
use rlhf_models::{Gate, NormPlace, Residual};
use rlhf_tensor::Weights;

/// The matrices of a block.
#[derive(Debug)]
pub(super) struct PackedBlock<D: Device> {
    qkv: PackedLinear<D>,
    attention_out: PackedLinear<D>,
    up: PackedLinear<D>,
    down: PackedLinear<D>,
}

/// What the blocks of a step have in common.
#[derive(Debug)]
pub(super) struct Step<'a, D: Device> {
    pub(super) weights: Weights<'a, D>,
    pub(super) ropes: &'a Ropes<D>,
    /// The position of each row's newest token, \[R\].
    pub(super) positions: &'a [u32],
}

impl<D: Device> Clone for Step<'_, D> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<D: Device> Copy for Step<'_, D> {}

/// Memory reused by every step.
#[derive(Debug)]
pub(super) struct StepScratch<D: Device> {
    /// The residual stream, [R, D].
    pub(super) x: D::Buffer,
    pub(super) normed: D::Buffer,
    /// What a feed-forward layer reads that is parallel to attention.
    parallel: D::Buffer,
    pub(super) stats: D::NormStats,
    /// Queries, keys and values before their norms.
    projected: D::Buffer,
    query_key: QueryKeyStats<D>,
    qkv: D::Buffer,
    mixed: D::Buffer,
    inner: D::Buffer,
    active: D::Buffer,
    /// What a layer answers, where a norm reads it.
    answer: D::Buffer,
    /// What products with packed matrices need.
    pub(super) packed: D::Buffer,
}

impl<D: Device> Default for StepScratch<D> {
    fn default() -> Self {
        Self {
            x: D::Buffer::default(),
            normed: D::Buffer::default(),
            parallel: D::Buffer::default(),
            stats: D::NormStats::default(),
            projected: D::Buffer::default(),
            query_key: QueryKeyStats::default(),
            qkv: D::Buffer::default(),
            mixed: D::Buffer::default(),
            inner: D::Buffer::default(),
            active: D::Buffer::default(),
            answer: D::Buffer::default(),
            packed: D::Buffer::default(),
        }
    }
}

impl<D: Device> PackedBlock<D> {
    pub(super) fn new(block: &Block, weights: Weights<'_, D>) -> Self {
        Self {
            qkv: PackedLinear::new(&block.qkv, weights),
            attention_out: PackedLinear::new(&block.attention_out, weights),
            up: PackedLinear::new(&block.up, weights),
            down: PackedLinear::new(&block.down, weights),
        }
    }

    /// Runs the block, of this layer of the caches, over the stream in the scratch memory.
    pub(super) fn step(
        &self,
        block: &Block,
        step: Step<'_, D>,
        (cached, layer): (&mut [CachedRow<'_, D>], usize),
        scratch: &mut StepScratch<D>,
    ) {
        if block.residual == Residual::Parallel {
            // The feed-forward layer reads what attention reads, through a norm of its own.
            let x = Slice::first(&scratch.x, step.positions.len() * block.width);
            let norm = &block.mlp_norms.before;
            normalized(
                norm,
                step.weights,
                x,
                &mut scratch.stats,
                &mut scratch.parallel,
            );
        }
        self.attention_layer(block, step, (cached, layer), scratch);
        self.mlp_layer(block, step, scratch);
    }

    /// Adds to the stream what attention answers.
    fn attention_layer(
        &self,
        block: &Block,
        step: Step<'_, D>,
        (cached, layer): (&mut [CachedRow<'_, D>], usize),
        scratch: &mut StepScratch<D>,
    ) {
        let (weights, device) = (step.weights, step.weights.device());
        let (n, shape) = (step.positions.len(), block.attention);
        let memory = &mut scratch.packed;
        let x = Slice::first(&scratch.x, n * block.width);
        let norm = &block.attention_norms.before;
        let from = normalized(norm, weights, x, &mut scratch.stats, &mut scratch.normed);
        let of_qkv = n * shape.qkv_width();
        let mut qkv = device.at_least(&mut scratch.qkv, of_qkv);
        let linear = (&block.qkv, weights);
        match &block.query_key_norm {
            None => {
                let out = (qkv.reborrow(), Write::Over);
                self.qkv.forward(linear, from, out, memory);
            }
            Some(norm) => {
                let mut projected = device.at_least(&mut scratch.projected, of_qkv);
                let out = (projected.reborrow(), Write::Over);
                self.qkv.forward(linear, from, out, memory);
                let stats = &mut scratch.query_key;
                norm.forward(weights, shape, projected.read(), stats, qkv.reborrow());
            }
        }
        if let Some(rope) = block.rope {
            device.rope(shape, step.ropes.get(rope), step.positions, qkv.reborrow());
        }
        let mut mixed = device.at_least(&mut scratch.mixed, n * shape.query_width());
        device.attend_cached(cached, layer, qkv.read(), mixed.reborrow());
        let linear = (&block.attention_out, weights);
        add_answer(
            (block.place, &block.attention_norms),
            weights,
            SliceMut::first(&mut scratch.x, n * block.width),
            (&mut scratch.answer, &mut scratch.normed, &mut scratch.stats),
            |y, write| {
                let mixed = mixed.read();
                self.attention_out
                    .forward(linear, mixed, (y, write), memory);
            },
        );
    }

    /// Adds to the stream what the feed-forward layer answers.
    fn mlp_layer(&self, block: &Block, step: Step<'_, D>, scratch: &mut StepScratch<D>) {
        let (weights, device) = (step.weights, step.weights.device());
        let n = step.positions.len();
        let memory = &mut scratch.packed;
        let x = Slice::first(&scratch.x, n * block.width);
        let norm = &block.mlp_norms.before;
        let from = match block.residual {
            Residual::Serial => {
                normalized(norm, weights, x, &mut scratch.stats, &mut scratch.normed)
            }
            Residual::Parallel => Slice::first(&scratch.parallel, n * block.width),
        };
        let mut inner = device.at_least(&mut scratch.inner, n * block.mlp.expanded());
        let out = (inner.reborrow(), Write::Over);
        self.up.forward((&block.up, weights), from, out, memory);
        let mut active = device.at_least(&mut scratch.active, n * block.mlp.inner);
        let (kind, width) = (block.mlp.activation, block.mlp.inner);
        match block.mlp.gate {
            Gate::None => device.activate(kind, inner.read(), active.reborrow()),
            Gate::Gated => device.activate_gated(kind, width, inner.read(), active.reborrow()),
        }
        let linear = (&block.down, weights);
        add_answer(
            (block.place, &block.mlp_norms),
            weights,
            SliceMut::first(&mut scratch.x, n * block.width),
            (&mut scratch.answer, &mut scratch.normed, &mut scratch.stats),
            |y, write| {
                let active = active.read();
                self.down.forward(linear, active, (y, write), memory);
            },
        );
    }
}

/// Adds to `x` what `answer` writes, normalized where the block has a norm there.
fn add_answer<D: Device>(
    (place, norms): (NormPlace, &Norms),
    weights: Weights<'_, D>,
    mut x: SliceMut<'_, D>,
    (memory, normed, stats): (&mut D::Buffer, &mut D::Buffer, &mut D::NormStats),
    answer: impl FnOnce(SliceMut<'_, D>, Write),
) {
    let Some(norm) = &norms.after else {
        return answer(x, Write::Add);
    };
    let device = weights.device();
    let mut normed = device.at_least(normed, x.len());
    if place == NormPlace::OnSum {
        answer(x.reborrow(), Write::Add);
        norm.forward(weights, x.read(), stats, normed.reborrow());
        device.copy(normed.read(), x);
        return;
    }
    let mut answered = device.at_least(memory, x.len());
    answer(answered.reborrow(), Write::Over);
    norm.forward(weights, answered.read(), stats, normed.reborrow());
    device.add(normed.read(), x);
}
