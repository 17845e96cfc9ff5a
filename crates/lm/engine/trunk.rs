//! From tokens to the residual stream after the last block, and back.

use super::block::{Block, Norms, Onward, Pass, Saved, Scratch};
use super::modules::{Embedding, LearnedPositions, Linear, Norm, QueryKeyNorm};
use super::ropes::Ropes;
use crate::options::ActivationCheckpointing;
use crate::packed::Packed;
use crate::parameters::{BlockIds, LinearIds, ModelIds, NormIds};
use rlhf_device::{Device, Precision, Slice, SliceMut};
use rlhf_models::{BlockSpec, ModelSpec, PositionSpec, QkNorm};
use rlhf_objective::Purpose;
use rlhf_tensor::{Gradients, Weights};

/// The embedding, the blocks, and the memory they compute in, which only ever grows.
#[derive(Debug)]
pub(super) struct Trunk<D: Device> {
    pub(super) embedding: Embedding,
    pub(super) blocks: Vec<Block>,
    pub(super) width: usize,
    /// The tables of rotary positions.
    pub(super) ropes: Ropes<D>,
    pub(super) activation_checkpointing: ActivationCheckpointing,
    /// The input of each block; to score, one serves them all.
    inputs: Vec<D::Buffer>,
    /// What else each block keeps; where blocks run again, one of them: `held`.
    saved: Vec<Saved<D>>,
    held: usize,
    scratch: Scratch<D>,
    stream: D::Buffer,
    gradient: D::Buffer,
}

/// The tokens of a read and who attends to whom.
#[derive(Debug)]
pub(super) struct Batch<D: Device> {
    pub(super) packed: Packed,
    segments: D::Segments,
}

impl<D: Device> Batch<D> {
    pub(super) fn new(device: &D, packed: Packed) -> Self {
        let segments = packed.segments.iter();
        let segments = segments.map(|segment| (segment.range.clone(), segment.parent));
        Self {
            segments: device.segments(&segments.collect::<Vec<_>>()),
            packed,
        }
    }
}

impl<D: Device> Trunk<D> {
    pub(super) fn new(spec: &ModelSpec, ids: &ModelIds, precision: Precision) -> Self {
        let mut ropes = Ropes::new();
        let blocks = spec.blocks.iter().zip(&ids.blocks);
        let blocks = blocks.map(|(block, ids)| {
            let rope = block.attention.rope.map(|rope| ropes.number(rope));
            new_block((spec, block), ids, precision, rope)
        });
        let blocks = blocks.collect();
        let learned = match (spec.embedding.positions, ids.positions) {
            (PositionSpec::Learned { offset }, Some(table)) => Some(LearnedPositions {
                table,
                offset: offset as u32,
            }),
            _ => None,
        };
        Self {
            embedding: Embedding {
                tokens: ids.tokens,
                scale: spec.embedding.scale,
                positions: learned,
            },
            blocks,
            width: spec.width,
            ropes,
            activation_checkpointing: ActivationCheckpointing::None,
            inputs: Vec::new(),
            saved: Vec::new(),
            held: 0,
            scratch: Scratch::default(),
            stream: D::Buffer::default(),
            gradient: D::Buffer::default(),
        }
    }

    /// Runs all blocks and answers the residual stream of the rows that predict, [N, D]; nothing that
    /// only they need is computed for the others. `after` sees each block's queries, keys and values
    /// [n, qkv width].
    pub(super) fn forward(
        &mut self,
        weights: Weights<'_, D>,
        batch: &Batch<D>,
        purpose: Purpose,
        mut after: impl FnMut(usize, Slice<'_, D>),
    ) -> Slice<'_, D> {
        let device = weights.device();
        let size = batch.packed.tokens.len() * self.width;
        let of_rows = batch.packed.rows.len() * self.width;
        let mut x = device.at_least(&mut self.stream, size.max(of_rows));
        let (tokens, positions) = (&batch.packed.tokens, &batch.packed.positions);
        self.embedding
            .forward(weights, tokens, positions, x.reborrow().part(0..size));
        let end = positions.iter().max().map_or(0, |last| *last as usize + 1);
        self.ropes.make_room(device, end);
        let pass = Pass {
            weights,
            segments: &batch.segments,
            positions,
            ropes: &self.ropes,
        };
        for (layer, block) in self.blocks.iter().enumerate() {
            let (of_input, of_rest) = match (purpose, self.activation_checkpointing) {
                (Purpose::Score, _) => (0, 0),
                (Purpose::Train, ActivationCheckpointing::Blocks) => (layer, 0),
                (Purpose::Train, ActivationCheckpointing::None) => (layer, layer),
            };
            let mut input = device.at_least(slot(&mut self.inputs, of_input), size);
            device.copy(x.read().part(0..size), input.reborrow());
            let saved = slot(&mut self.saved, of_rest);
            let onward = onward(layer, self.blocks.len(), batch);
            let out = onward.count(size / self.width) * self.width;
            let out = x.reborrow().part(0..out);
            let scratch = &mut self.scratch;
            block.forward(pass, onward, (input.read(), out), saved, scratch);
            self.held = layer;
            let of_qkv = size / self.width * block.attention.qkv_width();
            after(layer, Slice::first(&saved.qkv, of_qkv));
        }
        Slice::first(&self.stream, of_rows)
    }

    /// From the gradient of the rows that predict (`d_rows` [N, D], which is used up) to those of the
    /// parameters.
    pub(super) fn backward(
        &mut self,
        weights: Weights<'_, D>,
        gradients: &mut Gradients<'_, D>,
        batch: &Batch<D>,
        mut d_rows: SliceMut<'_, D>,
    ) {
        let packed = &batch.packed;
        let size = packed.tokens.len() * self.width;
        let mut dx = weights.device().at_least(&mut self.gradient, size);
        let scratch = &mut self.scratch;
        let pass = Pass {
            weights,
            segments: &batch.segments,
            positions: &packed.positions,
            ropes: &self.ropes,
        };
        for (layer, block) in self.blocks.iter().enumerate().rev() {
            let input = Slice::first(&self.inputs[layer], size);
            let onward = onward(layer, self.blocks.len(), batch);
            let saved = match self.activation_checkpointing {
                ActivationCheckpointing::None => &self.saved[layer],
                ActivationCheckpointing::Blocks => {
                    if self.held != layer {
                        let saved = &mut self.saved[0];
                        block.save(pass, onward, input, saved, scratch);
                        self.held = layer;
                    }
                    &self.saved[0]
                }
            };
            let (kept, dx) = ((input, saved), dx.reborrow());
            match onward {
                Onward::All => block.backward(pass, gradients, dx, kept, scratch),
                Onward::Rows(rows) => {
                    let of_rows = (rows, d_rows.reborrow(), dx);
                    block.backward_rows(pass, gradients, of_rows, kept, scratch);
                }
            }
        }
        let (tokens, positions) = (&packed.tokens, &packed.positions);
        self.embedding
            .backward(gradients, tokens, positions, dx.read());
    }
}

/// The rows that a block computes after its attention: all, and in the last block those that predict.
fn onward<D: Device>(layer: usize, layers: usize, batch: &Batch<D>) -> Onward<'_> {
    if layer + 1 == layers {
        Onward::Rows(&batch.packed.rows)
    } else {
        Onward::All
    }
}

/// One of a list that grows by one at a time.
fn slot<T: Default>(all: &mut Vec<T>, index: usize) -> &mut T {
    if all.len() == index {
        all.push(T::default());
    }
    &mut all[index]
}

/// A block of a spec over its parameters; `rope` is the number of its rotation's tables.
fn new_block(
    (model, spec): (&ModelSpec, &BlockSpec),
    ids: &BlockIds,
    precision: Precision,
    rope: Option<usize>,
) -> Block {
    let (width, attention, mlp) = (model.width, &spec.attention, spec.mlp);
    let linear = |ids: &LinearIds, inputs, outputs| Linear {
        ids: ids.clone(),
        layout: model.layout,
        inputs,
        outputs,
        precision,
    };
    let norms = |before: Option<NormIds>, after: Option<NormIds>| {
        let norm = |ids| Norm {
            ids,
            formula: spec.norm,
        };
        Norms {
            before: before.map(norm),
            after: after.map(norm),
        }
    };
    let query_key_norm = match (attention.qk_norm, ids.query_norm, ids.key_norm) {
        (QkNorm::PerHead(formula) | QkNorm::Whole(formula), Some(query), Some(key)) => {
            Some(QueryKeyNorm {
                query,
                key,
                formula,
            })
        }
        _ => None,
    };
    let shape = attention.shape;
    Block {
        width,
        place: spec.place,
        residual: spec.residual,
        attention_norms: norms(ids.attention_norm, ids.attention_post_norm),
        qkv: linear(&ids.qkv, width, shape.qkv_width()),
        query_key_norm,
        rope,
        attention: shape,
        attention_out: linear(&ids.attention_out, shape.query_width(), width),
        mlp_norms: norms(ids.mlp_norm, ids.mlp_post_norm),
        up: linear(&ids.up, width, mlp.expanded()),
        mlp,
        down: linear(&ids.down, mlp.inner, width),
    }
}
