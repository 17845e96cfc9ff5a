//! What a decoder-only transformer is made of.
//!
//! An architecture ([`models`](crate::models)) translates its `config.json` into a [`ModelSpec`]; the
//! engine and the plain network run specs, and know no architecture by name. Which tokens begin and end a
//! text is not the network's matter: see [`ModelConfig`](crate::ModelConfig).

use rlhf_device::{AttentionShape, Nonlinearity};

/// A transformer with learned positions, whose blocks normalize what they read: x += attention(norm(x)),
/// x += mlp(norm(x)) (Radford et al. 2019, §2.3), with a layer norm behind the last one.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSpec {
    /// V.
    pub vocab: usize,
    /// The context: how many positions there are, tokens.
    pub context: usize,
    /// D.
    pub width: usize,
    /// ε of the layer norms.
    pub norm_epsilon: f32,
    /// The blocks, in order; at least one.
    pub blocks: Vec<BlockSpec>,
    /// Whether the vocabulary head is the token embedding.
    pub tied: bool,
}

/// One block.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BlockSpec {
    /// Its attention.
    pub attention: AttentionShape,
    /// The width of its feed-forward layer.
    pub inner: usize,
    /// Its nonlinearity.
    pub activation: Nonlinearity,
}

impl ModelSpec {
    /// The number of parameters of a language model.
    #[must_use]
    pub fn parameters(&self) -> u64 {
        let d = self.width as u128;
        let block = |block: &BlockSpec| 4 * d * d + 9 * d + block.inner as u128 * (2 * d + 1);
        let blocks: u128 = self.blocks.iter().map(block).sum();
        let tables = if self.tied { 1 } else { 2 };
        let rows = tables * self.vocab as u128 + self.context as u128 + 2;
        u64::try_from(blocks + rows * d).unwrap_or(u64::MAX)
    }
}
