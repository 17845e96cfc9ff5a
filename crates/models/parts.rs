//! The tensors of a network that a spec describes: which there are, and what shape each has. What they are
//! called is for an architecture to say.

use crate::spec::{BlockSpec, Gate, ModelSpec, PositionSpec, Projection, QkNorm, WeightLayout};
use rlhf_device::{Norm, NormKind};

/// A layer with parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Part {
    /// The token embedding.
    Tokens,
    /// The position embedding.
    Positions,
    /// A layer of the block of this number.
    Block(usize, BlockPart),
    /// The norm after the last block.
    FinalNorm,
    /// The vocabulary head, where it is not the token embedding.
    Head,
}

/// A layer of a block with parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BlockPart {
    /// The norm of what attention reads.
    AttentionNorm,
    /// The norm of what attention answers, or of its sum with the residual stream.
    AttentionPostNorm,
    /// Queries, keys and values as one.
    Qkv,
    /// Queries.
    Query,
    /// Keys.
    Key,
    /// Values.
    Value,
    /// The norm of queries.
    QueryNorm,
    /// The norm of keys.
    KeyNorm,
    /// The projection after attention.
    AttentionOut,
    /// The norm of what the feed-forward layer reads.
    MlpNorm,
    /// The norm of what it answers, or of its sum with the residual stream.
    MlpPostNorm,
    /// The gate of a gated feed-forward layer.
    Gate,
    /// The first product of the feed-forward layer.
    Up,
    /// The second.
    Down,
}

/// Which tensor of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Which {
    /// Its weight.
    Weight,
    /// Its bias.
    Bias,
}

/// What a tensor is to the optimizer and to the first weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// A table of embeddings.
    Table,
    /// The matrix of a linear layer.
    Matrix,
    /// The matrix of a linear layer whose output is added to the residual stream.
    ResidualMatrix,
    /// A norm's weight, which multiplies as it is.
    Scale,
    /// A norm's weight, to which 1 is added.
    ScaleLessOne,
    /// A bias.
    Bias,
}

/// One tensor of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartTensor {
    /// The layer that it belongs to.
    pub part: Part,
    /// Which of the layer's tensors it is.
    pub which: Which,
    /// Its shape, row-major, as files store it.
    pub shape: Vec<usize>,
    /// What it is to the optimizer and to the first weights.
    pub role: Role,
    /// Whether it lies right behind the one before it in memory, so that both can be read as one.
    pub adjoins: bool,
}

/// Collects tensors.
struct Tensors {
    all: Vec<PartTensor>,
    layout: WeightLayout,
}

impl Tensors {
    fn push(&mut self, part: Part, which: Which, shape: &[usize], role: Role) {
        self.all.push(PartTensor {
            part,
            which,
            shape: shape.to_vec(),
            role,
            adjoins: false,
        });
    }

    fn norm(&mut self, part: Part, norm: Norm, width: usize) {
        let role = if norm.weight_offset == 0.0 {
            Role::Scale
        } else {
            Role::ScaleLessOne
        };
        self.push(part, Which::Weight, &[width], role);
        if norm.kind == NormKind::Layer {
            self.push(part, Which::Bias, &[width], Role::Bias);
        }
    }

    /// The linear layers of some parts, which all read the same input and whose outputs lie side by side.
    fn linear(&mut self, parts: &[(Part, usize)], inputs: usize, bias: bool, role: Role) {
        for (index, (part, outputs)) in parts.iter().enumerate() {
            let shape = match self.layout {
                WeightLayout::InOut => [inputs, *outputs],
                WeightLayout::OutIn => [*outputs, inputs],
            };
            self.push(*part, Which::Weight, &shape, role);
            self.adjoin(index > 0);
        }
        for (index, (part, outputs)) in parts.iter().enumerate().filter(|_| bias) {
            self.push(*part, Which::Bias, &[*outputs], Role::Bias);
            self.adjoin(index > 0);
        }
    }

    fn adjoin(&mut self, adjoins: bool) {
        if let Some(last) = self.all.last_mut() {
            last.adjoins = adjoins;
        }
    }

    fn block(&mut self, layer: usize, block: &BlockSpec, width: usize) {
        let of = |part| Part::Block(layer, part);
        let (attention, mlp) = (&block.attention, &block.mlp);
        let shape = &attention.shape;
        let layers = [
            (BlockPart::AttentionNorm, BlockPart::AttentionPostNorm),
            (BlockPart::MlpNorm, BlockPart::MlpPostNorm),
        ];
        for (before, after) in layers {
            if block.place.before() {
                self.norm(of(before), block.norm, width);
            }
            if block.place.after() {
                self.norm(of(after), block.norm, width);
            }
        }
        let (q, kv) = (shape.query_width(), shape.kv_width());
        let parts = match attention.projection {
            Projection::Fused | Projection::FusedByHead => vec![(BlockPart::Qkv, q + 2 * kv)],
            Projection::Separate => vec![
                (BlockPart::Query, q),
                (BlockPart::Key, kv),
                (BlockPart::Value, kv),
            ],
        };
        let parts: Vec<_> = parts.into_iter().map(|(part, n)| (of(part), n)).collect();
        self.linear(&parts, width, attention.qkv_bias, Role::Matrix);
        match attention.qk_norm {
            QkNorm::None => {}
            QkNorm::PerHead(norm) => {
                for part in [BlockPart::QueryNorm, BlockPart::KeyNorm] {
                    self.norm(of(part), norm, shape.head_width);
                }
            }
            QkNorm::Whole(norm) => {
                self.norm(of(BlockPart::QueryNorm), norm, q);
                self.norm(of(BlockPart::KeyNorm), norm, kv);
            }
        }
        let out = [(of(BlockPart::AttentionOut), width)];
        self.linear(&out, q, attention.output_bias, Role::ResidualMatrix);
        let expanded: &[_] = match mlp.gate {
            Gate::None => &[BlockPart::Up],
            Gate::Gated => &[BlockPart::Gate, BlockPart::Up],
        };
        let expanded: Vec<_> = expanded.iter().map(|part| (of(*part), mlp.inner)).collect();
        self.linear(&expanded, width, mlp.bias, Role::Matrix);
        let down = [(of(BlockPart::Down), width)];
        self.linear(&down, mlp.inner, mlp.bias, Role::ResidualMatrix);
    }
}

impl ModelSpec {
    /// The tensors of a language model, in the order of its parameters.
    #[must_use]
    pub fn tensors(&self) -> Vec<PartTensor> {
        let width = self.width;
        let mut tensors = Tensors {
            all: Vec::new(),
            layout: self.layout,
        };
        let table = [self.vocab, width];
        tensors.push(Part::Tokens, Which::Weight, &table, Role::Table);
        if let PositionSpec::Learned { offset } = self.embedding.positions {
            let table = [offset + self.context, width];
            tensors.push(Part::Positions, Which::Weight, &table, Role::Table);
        }
        for (layer, block) in self.blocks.iter().enumerate() {
            tensors.block(layer, block, width);
        }
        tensors.norm(Part::FinalNorm, self.final_norm, width);
        if !self.tied {
            let table = [self.vocab, width];
            tensors.push(Part::Head, Which::Weight, &table, Role::Matrix);
        }
        tensors.all
    }
}
