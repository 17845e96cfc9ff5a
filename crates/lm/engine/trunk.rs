//! From tokens to the residual stream after the last block, and back.

use super::block::{Block, Saved, Scratch};
use super::modules::{Embedding, Linear, Norm};
use crate::bodies::gpt2::{BlockIds, Gpt2Ids};
use crate::{Activation, Gpt2Config, Packed, Recompute};
use rlhf_objective::Purpose;
use rlhf_tensor::cpu::{Buffer, Heads, Nonlinearity, Precision, Segments};
use rlhf_tensor::{Gradients, Weights};

/// The embedding, the blocks, and the memory they compute in, which only ever grows.
#[derive(Debug)]
pub(super) struct Trunk {
    pub(super) embedding: Embedding,
    pub(super) blocks: Vec<Block>,
    pub(super) width: usize,
    pub(super) recompute: Recompute,
    /// The input of each block; to score, one serves them all.
    inputs: Vec<Buffer>,
    /// What else each block keeps; where blocks run again, one of them: `held`.
    saved: Vec<Saved>,
    held: usize,
    scratch: Scratch,
    stream: Buffer,
    gradient: Buffer,
}

/// The tokens of a read and who attends to whom.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) packed: Packed,
    segments: Segments,
}

impl Batch {
    pub(super) fn new(packed: Packed) -> Self {
        let segments = packed.segments.iter();
        let segments = segments.map(|segment| (segment.range.clone(), segment.parent));
        Self {
            segments: Segments::new(segments),
            packed,
        }
    }
}

impl Trunk {
    pub(super) fn new(config: &Gpt2Config, ids: &Gpt2Ids, precision: Precision) -> Self {
        let linear = |ids| Linear { ids, precision };
        let block = |(layer, ids): (usize, &BlockIds)| Block {
            norm_1: norm(config, ids.norm_1),
            qkv: linear(ids.qkv),
            heads: Heads {
                count: config.heads,
                width: config.width / config.heads,
                scale: config.attention_scale(layer),
            },
            attention_out: linear(ids.attention_out),
            norm_2: norm(config, ids.norm_2),
            inner: linear(ids.inner),
            nonlinearity: match config.activation {
                Activation::GeluNew => Nonlinearity::GeluNew,
                Activation::Gelu => Nonlinearity::Gelu,
                Activation::Relu => Nonlinearity::Relu,
                Activation::Silu => Nonlinearity::Silu,
            },
            inner_out: linear(ids.inner_out),
            inner_width: config.inner,
        };
        Self {
            embedding: Embedding {
                tokens: ids.tokens,
                positions: ids.positions,
            },
            blocks: ids.blocks.iter().enumerate().map(block).collect(),
            width: config.width,
            recompute: Recompute::None,
            inputs: Vec::new(),
            saved: Vec::new(),
            held: 0,
            scratch: Scratch::default(),
            stream: Buffer::default(),
            gradient: Buffer::default(),
        }
    }

    /// Runs all blocks and answers the residual stream, [n, D]. `after` sees each block's queries,
    /// keys and values [n, 3D].
    pub(super) fn forward(
        &mut self,
        weights: Weights<'_>,
        batch: &Batch,
        purpose: Purpose,
        mut after: impl FnMut(usize, &[f32]),
    ) -> &[f32] {
        let size = batch.packed.tokens.len() * self.width;
        let x = self.stream.at_least(size);
        let (tokens, positions) = (&batch.packed.tokens, &batch.packed.positions);
        self.embedding.forward(weights, tokens, positions, x);
        for (layer, block) in self.blocks.iter().enumerate() {
            let (of_input, of_rest) = match (purpose, self.recompute) {
                (Purpose::Score, _) => (0, 0),
                (Purpose::Train, Recompute::Blocks) => (layer, 0),
                (Purpose::Train, Recompute::None) => (layer, layer),
            };
            let input = slot(&mut self.inputs, of_input).at_least(size);
            input.copy_from_slice(x);
            let saved = slot(&mut self.saved, of_rest);
            let segments = &batch.segments;
            block.forward(weights, segments, (input, x), saved, &mut self.scratch);
            self.held = layer;
            after(layer, &saved.qkv[..3 * size]);
        }
        x
    }

    /// From the gradient of some rows of the stream (`d_rows` [N, D], where they are: `rows`) to
    /// those of the parameters. Rows that predict several tokens are listed as often; their
    /// gradients add up.
    pub(super) fn backward(
        &mut self,
        weights: Weights<'_>,
        gradients: &mut Gradients<'_>,
        batch: &Batch,
        rows: &[usize],
        d_rows: &[f32],
    ) {
        let width = self.width;
        let dx = self.gradient.at_least(batch.packed.tokens.len() * width);
        dx.fill(0.0);
        for (row, d_row) in rows.iter().zip(d_rows.chunks_exact(width)) {
            let dx = &mut dx[row * width..][..width];
            dx.iter_mut().zip(d_row).for_each(|(sum, d)| *sum += d);
        }
        let (segments, scratch) = (&batch.segments, &mut self.scratch);
        for (layer, block) in self.blocks.iter().enumerate().rev() {
            let input = &self.inputs[layer][..dx.len()];
            let saved = match self.recompute {
                Recompute::None => &self.saved[layer],
                Recompute::Blocks => {
                    if self.held != layer {
                        block.save(weights, segments, input, &mut self.saved[0], scratch);
                        self.held = layer;
                    }
                    &self.saved[0]
                }
            };
            block.backward(weights, gradients, segments, dx, (input, saved), scratch);
        }
        let (tokens, positions) = (&batch.packed.tokens, &batch.packed.positions);
        self.embedding.backward(gradients, tokens, positions, dx);
    }
}

/// One of a list that grows by one at a time.
fn slot<T: Default>(all: &mut Vec<T>, index: usize) -> &mut T {
    if all.len() == index {
        all.push(T::default());
    }
    &mut all[index]
}

/// A norm with this configuration's ε.
pub(super) fn norm(config: &Gpt2Config, ids: crate::bodies::gpt2::Affine) -> Norm {
    Norm {
        ids,
        epsilon: config.norm_epsilon,
    }
}
