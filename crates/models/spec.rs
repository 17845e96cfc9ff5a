//! What a decoder-only transformer is made of.
//!
//! An [`Architecture`](crate::Architecture) translates its `config.json` into a [`ModelSpec`]; the engine and
//! the plain network run specs, and know no architecture by name. Which tokens begin and end a text is not
//! part of the network.

use crate::rope::RopeSpec;
use rlhf_device::{AttentionShape, Nonlinearity, Norm};

/// A decoder-only transformer: an embedding, blocks of attention and a feed-forward layer on a residual
/// stream, a final norm, and a head over the vocabulary.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSpec {
    /// V.
    pub vocab: usize,
    /// The context: how many positions there are, tokens.
    pub context: usize,
    /// D, the width of the residual stream.
    pub width: usize,
    /// How tokens become the first rows of the residual stream.
    pub embedding: EmbeddingSpec,
    /// The blocks, in order; at least one.
    pub blocks: Vec<BlockSpec>,
    /// The norm after the last block.
    pub final_norm: Norm,
    /// Whether the vocabulary head is the token embedding.
    pub tied: bool,
    /// How the files of this architecture store the weights of linear layers.
    pub layout: WeightLayout,
}

/// How tokens become the first rows of the residual stream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EmbeddingSpec {
    /// What token embeddings are multiplied by; 1 in most models, √D in Gemma.
    pub scale: f32,
    /// How the network knows the position of a token.
    pub positions: PositionSpec,
}

/// How the network knows the position of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PositionSpec {
    /// A learned row for each position is added to the token embedding. Position 0 has the row of this
    /// index: OPT leaves its first two rows unused.
    Learned {
        /// The row of position 0.
        offset: usize,
    },
    /// Nothing is added: the attention of each block rotates its queries and keys
    /// ([`AttentionSpec::rope`]).
    Rotary,
}

/// The weights of a linear layer y = x·W + b, as files store them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightLayout {
    /// [in, out]: transformers' `Conv1D`.
    InOut,
    /// [out, in]: torch's `Linear`.
    OutIn,
}

/// One block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BlockSpec {
    /// Its norms, all of one kind.
    pub norm: Norm,
    /// Where they are.
    pub place: NormPlace,
    /// Whether the feed-forward layer reads what attention has added to.
    pub residual: Residual,
    /// Its attention.
    pub attention: AttentionSpec,
    /// Its feed-forward layer.
    pub mlp: MlpSpec,
}

/// Where the norms of a block are, for each of its two layers f (attention and feed-forward).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormPlace {
    /// x += f(norm(x)).
    Before,
    /// x += norm(f(x)): OLMo 2.
    After,
    /// x += norm(f(norm(x))), with two norms: Gemma.
    Both,
    /// x ← norm(x + f(x)): OPT-350m, and the original transformer (Vaswani et al. 2017).
    OnSum,
}

impl NormPlace {
    /// Whether a norm reads the input of the layer.
    #[must_use]
    pub const fn before(self) -> bool {
        matches!(self, Self::Before | Self::Both)
    }

    /// Whether a norm reads the output of the layer, or the sum with its input.
    #[must_use]
    pub const fn after(self) -> bool {
        matches!(self, Self::After | Self::Both | Self::OnSum)
    }
}

/// What the feed-forward layer of a block reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Residual {
    /// The residual stream after attention.
    Serial,
    /// The residual stream before attention: both layers read the same rows, and both are added to them
    /// (GPT-J, GPT-NeoX).
    Parallel,
}

/// The attention of a block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttentionSpec {
    /// Its heads, its window, and what scores are multiplied by.
    pub shape: AttentionShape,
    /// How queries, keys and values are stored.
    pub projection: Projection,
    /// Whether the projections to queries, keys and values have biases.
    pub qkv_bias: bool,
    /// Whether the projection of the output has one.
    pub output_bias: bool,
    /// What normalizes queries and keys, before they are rotated.
    pub qk_norm: QkNorm,
    /// The rotation of queries and keys by their positions; none where positions are learned.
    pub rope: Option<RopeSpec>,
}

/// How files store the projections to queries, keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Projection {
    /// As one tensor: all queries, all keys, all values.
    Fused,
    /// As one tensor in which the queries, keys and values of a head are together (GPT-NeoX). It is put
    /// in the order of [`Fused`](Self::Fused) when it is read.
    FusedByHead,
    /// As three tensors.
    Separate,
}

/// A norm of queries and of keys.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum QkNorm {
    /// None.
    None,
    /// Of each head by itself, with weights that all heads share: Qwen 3, Gemma 3.
    PerHead(Norm),
    /// Of all heads together: OLMo 2.
    Whole(Norm),
}

/// The feed-forward layer of a block: W₂·f(W₁·x), or W₂·(f(G·x)·(U·x)) where it is gated (Shazeer 2020).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MlpSpec {
    /// The width between its two products.
    pub inner: usize,
    /// f.
    pub activation: Nonlinearity,
    /// Whether there is a gate.
    pub gate: Gate,
    /// Whether its linear layers have biases.
    pub bias: bool,
}

impl MlpSpec {
    /// The width of what f is computed from: twice the inner width where there is a gate.
    #[must_use]
    pub const fn expanded(&self) -> usize {
        match self.gate {
            Gate::None => self.inner,
            Gate::Gated => 2 * self.inner,
        }
    }
}

/// Whether a feed-forward layer is gated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// No: f(W₁·x).
    None,
    /// Yes: f(G·x)·(U·x).
    Gated,
}

impl ModelSpec {
    /// The number of parameters of a language model.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        let tensors = self.tensors().into_iter();
        let sizes = tensors.map(|tensor| tensor.shape.iter().map(|n| *n as u128).product::<u128>());
        u64::try_from(sizes.sum::<u128>()).unwrap_or(u64::MAX)
    }
}
