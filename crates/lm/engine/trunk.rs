//! From tokens to the residual stream after the last block, and back.

use super::block::{Block, Saved, Scratch};
use super::modules::{Embedding, Linear, Norm};
use crate::bodies::gpt2::{BlockIds, Gpt2Ids};
use crate::{Activation, Gpt2Config, Packed};
use rlhf_objective::Purpose;
use rlhf_tensor::cpu::{Buffer, Heads, Nonlinearity, Precision, Segments};
use rlhf_tensor::{Gradients, Weights};

/// The embedding, the blocks, and the memory they compute in, which only ever grows.
#[derive(Debug)]
pub(super) struct Trunk {
    pub(super) embedding: Embedding,
    pub(super) blocks: Vec<Block>,
    pub(super) width: usize,
    saved: Vec<Saved>,
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
            saved: Vec::new(),
            scratch: Scratch::default(),
            stream: Buffer::default(),
            gradient: Buffer::default(),
        }
    }

    /// Runs all blocks and answers the residual stream, [n, D]. `after` sees each block's queries,
    /// keys and values [n, 3D]. To score, one block's memory serves them all.
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
            let slot = match purpose {
                Purpose::Score => 0,
                Purpose::Train => layer,
            };
            if self.saved.len() == slot {
                self.saved.push(Saved::default());
            }
            let saved = &mut self.saved[slot];
            block.forward(weights, &batch.segments, x, saved, &mut self.scratch);
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
        for (block, saved) in self.blocks.iter().zip(&self.saved).rev() {
            block.backward(
                weights,
                gradients,
                &batch.segments,
                dx,
                saved,
                &mut self.scratch,
            );
        }
        let (tokens, positions) = (&batch.packed.tokens, &batch.packed.positions);
        self.embedding.backward(gradients, tokens, positions, dx);
    }
}

/// A norm with this configuration's ε.
pub(super) fn norm(config: &Gpt2Config, ids: crate::bodies::gpt2::Affine) -> Norm {
    Norm {
        ids,
        epsilon: config.norm_epsilon,
    }
}
