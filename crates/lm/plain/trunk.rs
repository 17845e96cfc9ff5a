//! From tokens to final hidden states, in the order in which a transformer computes.

use super::Weights;
use crate::packed::Packed;
use crate::parameters::{BlockIds, LinearIds, LowRankIds, ModelIds, NormIds};
use rlhf_device::{AttentionShape, Nonlinearity, Norm, NormKind};
use rlhf_models::RopeSpec;
use rlhf_models::{
    BlockSpec, Gate, ModelSpec, NormPlace, PositionSpec, QkNorm, Residual, WeightLayout,
};
use rlhf_objective::Result;
use rlhf_tensor::{D, DType, Device, ParameterId, Tensor, ops};

/// Called with the name of each stage and what it computed.
pub(super) type Trace<'a> = dyn FnMut(&str, &Tensor) + 'a;

/// A spec and the parameters of a network.
pub(super) struct Trunk<'a> {
    pub(super) spec: &'a ModelSpec,
    pub(super) ids: &'a ModelIds,
    pub(super) weights: &'a Weights,
}

impl Trunk<'_> {
    /// Final hidden states, [n, D].
    pub(super) fn hidden(&self, packed: &Packed, trace: &mut Trace<'_>) -> Result<Tensor> {
        let mut x = self.embed(packed, trace)?;
        trace("embedding", &x);
        for (layer, (block, ids)) in self.spec.blocks.iter().zip(&self.ids.blocks).enumerate() {
            let block = Block {
                spec: block,
                layout: self.spec.layout,
                ids,
                weights: self.weights,
                packed,
            };
            let mut trace = |stage: &str, x: &Tensor| trace(&format!("block{layer}{stage}"), x);
            x = block.forward(&x, &mut trace)?;
            trace("", &x);
        }
        let x = norm(self.weights, self.spec.final_norm, self.ids.norm, &x)?;
        trace("norm", &x);
        Ok(x)
    }

    /// The rows of the tokens, scaled, plus those of their positions where these are learned: [n, D].
    fn embed(&self, packed: &Packed, trace: &mut Trace<'_>) -> Result<Tensor> {
        let (n, embedding) = (packed.tokens.len(), self.spec.embedding);
        let tokens = Tensor::from_slice(&packed.tokens, n, &Device::Cpu)?;
        let mut x = self.weights.get(self.ids.tokens).index_select(&tokens, 0)?;
        if embedding.scale != 1.0 {
            x = (x * f64::from(embedding.scale))?;
        }
        trace("tokens", &x);
        let (PositionSpec::Learned { offset }, Some(table)) =
            (embedding.positions, self.ids.positions)
        else {
            return Ok(x);
        };
        let rows: Vec<u32> = packed.positions.iter().map(|p| p + offset as u32).collect();
        let rows = Tensor::from_slice(&rows, n, &Device::Cpu)?;
        let positions = self.weights.get(table).index_select(&rows, 0)?;
        trace("positions", &positions);
        Ok((x + positions)?)
    }
}

/// A block, and the batch that it reads.
struct Block<'a> {
    spec: &'a BlockSpec,
    layout: WeightLayout,
    ids: &'a BlockIds,
    weights: &'a Weights,
    packed: &'a Packed,
}

impl Block<'_> {
    fn forward(&self, x: &Tensor, trace: &mut Trace<'_>) -> Result<Tensor> {
        let attended = self.attention_layer(x, trace)?;
        let post_norm = self.ids.attention_post_norm;
        let sum = self.add(x, &attended, post_norm)?;
        trace(".residual", &sum);
        match self.spec.residual {
            Residual::Serial => {
                let mlp = self.mlp_layer(&sum, trace)?;
                self.add(&sum, &mlp, self.ids.mlp_post_norm)
            }
            Residual::Parallel => {
                let mlp = self.mlp_layer(x, trace)?;
                self.add(&sum, &mlp, self.ids.mlp_post_norm)
            }
        }
    }

    /// x + f, with the norm of f or of the sum where the block has one there.
    fn add(&self, x: &Tensor, f: &Tensor, post_norm: Option<NormIds>) -> Result<Tensor> {
        match (self.spec.place, post_norm) {
            (NormPlace::After | NormPlace::Both, Some(ids)) => Ok((x + self.norm(ids, f)?)?),
            (NormPlace::OnSum, Some(ids)) => self.norm(ids, &(x + f)?),
            _ => Ok((x + f)?),
        }
    }

    /// Attention on what it reads, projected to the residual stream: [n, D] → [n, D].
    fn attention_layer(&self, x: &Tensor, trace: &mut Trace<'_>) -> Result<Tensor> {
        let read = self.before(self.ids.attention_norm, x)?;
        trace(".norm_1", &read);
        let qkv = self.linear(&self.ids.qkv, &read)?;
        trace(".qkv", &qkv);
        let mixed = self.attention(&qkv, trace)?;
        trace(".attention", &mixed);
        let update = self.linear(&self.ids.attention_out, &mixed)?;
        trace(".attention_out", &update);
        Ok(update)
    }

    /// Softmax attention of each head over the rows the mask allows: [n, q + 2·kv] → [n, q].
    fn attention(&self, qkv: &Tensor, trace: &mut Trace<'_>) -> Result<Tensor> {
        let shape = &self.spec.attention.shape;
        let (q, kv) = (shape.query_width(), shape.kv_width());
        let queries = self.heads(&qkv.narrow(1, 0, q)?, self.ids.query_norm)?;
        let keys = self.heads(&qkv.narrow(1, q, kv)?, self.ids.key_norm)?;
        let values = split_heads(&qkv.narrow(1, q + kv, kv)?, shape.head_width)?;
        let (keys, values) = (repeat(&keys, shape)?, repeat(&values, shape)?);
        let scores = (queries.matmul(&keys.t()?.contiguous()?)? * f64::from(shape.scale))?;
        let scores = scores.broadcast_add(&mask(self.packed, shape.window)?)?;
        let shares = ops::softmax(&scores, D::Minus1)?;
        for (stage, x) in [
            (".queries", &queries),
            (".keys", &keys),
            (".values", &values),
            (".scores", &scores),
            (".shares", &shares),
        ] {
            trace(stage, x);
        }
        Ok(shares
            .matmul(&values)?
            .transpose(0, 1)?
            .reshape((qkv.dim(0)?, q))?)
    }

    /// Queries or keys, normalized and rotated as the spec says: [n, heads·w] → [heads, n, w].
    fn heads(&self, x: &Tensor, weight: Option<ParameterId>) -> Result<Tensor> {
        let (spec, weights) = (&self.spec.attention, self.weights);
        let width = spec.shape.head_width;
        let ids = weight.map(|weight| NormIds { weight, bias: None });
        let x = match (spec.qk_norm, ids) {
            (QkNorm::PerHead(of), Some(ids)) => norm(weights, of, ids, &split_heads(x, width)?)?,
            (QkNorm::Whole(of), Some(ids)) => split_heads(&norm(weights, of, ids, x)?, width)?,
            _ => split_heads(x, width)?,
        };
        match spec.rope {
            Some(rope) => rotate(&x, rope, &self.packed.positions),
            None => Ok(x),
        }
    }

    /// The feed-forward layer on what it reads: [n, D] → [n, D].
    fn mlp_layer(&self, x: &Tensor, trace: &mut Trace<'_>) -> Result<Tensor> {
        let read = self.before(self.ids.mlp_norm, x)?;
        trace(".norm_2", &read);
        let inner = self.linear(&self.ids.up, &read)?;
        trace(".inner", &inner);
        let (mlp, width) = (&self.spec.mlp, self.spec.mlp.inner);
        let active = match mlp.gate {
            Gate::None => activate(mlp.activation, &inner)?,
            Gate::Gated => {
                let gate = activate(mlp.activation, &inner.narrow(1, 0, width)?)?;
                (gate * inner.narrow(1, width, width)?)?
            }
        };
        trace(".active", &active);
        let update = self.linear(&self.ids.down, &active)?;
        trace(".inner_out", &update);
        Ok(update)
    }

    /// What a layer reads: the norm of x, or x.
    fn before(&self, ids: Option<NormIds>, x: &Tensor) -> Result<Tensor> {
        match ids {
            Some(ids) => self.norm(ids, x),
            None => Ok(x.clone()),
        }
    }

    fn norm(&self, ids: NormIds, x: &Tensor) -> Result<Tensor> {
        norm(self.weights, self.spec.norm, ids, x)
    }

    /// y + s·(x·Aᵀ)·Bᵀ of each adapter, in its columns.
    fn add_low_rank(&self, ids: &LowRankIds, x: &Tensor, y: &Tensor) -> Result<Tensor> {
        let (n, width) = y.dims2()?;
        let mut y = y.clone();
        for (a, (b, columns)) in ids.a.iter().zip(&ids.b) {
            let (a, b) = (self.weights.get(*a), self.weights.get(*b));
            let update = (x.matmul(&a.t()?)?.matmul(&b.t()?)? * f64::from(ids.scale))?;
            let mut parts = vec![update];
            if columns.start > 0 {
                parts.insert(0, zeros(n, columns.start)?);
            }
            if columns.end < width {
                parts.push(zeros(n, width - columns.end)?);
            }
            y = (y + side_by_side(parts, 1)?)?;
        }
        Ok(y)
    }

    /// x·W + b, the outputs of several weights side by side.
    fn linear(&self, ids: &LinearIds, x: &Tensor) -> Result<Tensor> {
        let product = |id: &ParameterId| -> Result<Tensor> {
            let weight = self.weights.get(*id);
            Ok(match self.layout {
                WeightLayout::InOut => x.matmul(weight)?,
                WeightLayout::OutIn => x.matmul(&weight.t()?)?,
            })
        };
        let products: Vec<Tensor> = ids.weights.iter().map(product).collect::<Result<_>>()?;
        let biases: Vec<&Tensor> = ids.biases.iter().map(|id| self.weights.get(*id)).collect();
        let mut y = side_by_side(products, 1)?;
        if let Some(low_rank) = &ids.low_rank {
            y = self.add_low_rank(low_rank, x, &y)?;
        }
        if biases.is_empty() {
            return Ok(y);
        }
        let biases = biases.into_iter().cloned().collect();
        Ok(y.broadcast_add(&side_by_side(biases, 0)?)?)
    }
}

/// Zeros [n, width].
fn zeros(n: usize, width: usize) -> Result<Tensor> {
    Ok(Tensor::zeros((n, width), DType::F32, &Device::Cpu)?)
}

fn side_by_side(mut all: Vec<Tensor>, dimension: usize) -> Result<Tensor> {
    Ok(match all.len() {
        1 => all.remove(0),
        _ => Tensor::cat(&all, dimension)?,
    })
}

/// [n, heads·w] → [heads, n, w].
fn split_heads(x: &Tensor, width: usize) -> Result<Tensor> {
    let (n, all) = x.dims2()?;
    let heads = x.reshape((n, all / width, width))?;
    Ok(heads.transpose(0, 1)?.contiguous()?)
}

/// The key or value head that each query head reads: [kv, n, w] → [heads, n, w].
fn repeat(x: &Tensor, spec: &AttentionShape) -> Result<Tensor> {
    if spec.kv_heads == spec.heads {
        return Ok(x.clone());
    }
    let (kv, n, width) = x.dims3()?;
    let times = spec.heads / spec.kv_heads;
    let repeated = x.unsqueeze(1)?.broadcast_as((kv, times, n, width))?;
    Ok(repeated.reshape((spec.heads, n, width))?)
}

/// Turns pair (i, i + rotary/2) of each row of `x` [heads, n, w] by the angle of its position.
fn rotate(x: &Tensor, rope: RopeSpec, positions: &[u32]) -> Result<Tensor> {
    let (half, n) = (rope.rotary / 2, positions.len());
    let end = positions.iter().max().map_or(0, |last| *last as usize + 1);
    let tables = rope.tables(0..end);
    let of_rows = |table: &[f32]| -> Result<Tensor> {
        let rows = positions.iter().flat_map(|position| {
            let start = *position as usize * half;
            table[start..start + half].iter().copied()
        });
        Ok(Tensor::from_vec(
            rows.collect(),
            (1, n, half),
            &Device::Cpu,
        )?)
    };
    let (cos, sin) = (of_rows(&tables.cos)?, of_rows(&tables.sin)?);
    let (a, b) = (x.narrow(2, 0, half)?, x.narrow(2, half, half)?);
    let first = (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?;
    let second = (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?;
    let mut parts = vec![first, second];
    let rest = x.dim(2)? - rope.rotary;
    if rest > 0 {
        parts.push(x.narrow(2, rope.rotary, rest)?);
    }
    Ok(Tensor::cat(&parts, 2)?)
}

/// A norm of the last dimension.
fn norm(weights: &Weights, spec: Norm, ids: NormIds, x: &Tensor) -> Result<Tensor> {
    let weight = weights.get(ids.weight);
    let rms = || -> Result<Tensor> {
        let square = x.sqr()?.mean_keepdim(D::Minus1)?;
        Ok(x.broadcast_div(&(square + f64::from(spec.epsilon))?.sqrt()?)?)
    };
    Ok(match (spec.kind, ids.bias) {
        (NormKind::Layer, Some(bias)) => {
            ops::layer_norm_slow(x, weight, weights.get(bias), spec.epsilon)?
        }
        _ => rms()?.broadcast_mul(&(weight + f64::from(spec.weight_offset))?)?,
    })
}

fn activate(kind: Nonlinearity, x: &Tensor) -> Result<Tensor> {
    Ok(match kind {
        Nonlinearity::GeluNew => x.gelu()?,
        Nonlinearity::Gelu => x.gelu_erf()?,
        Nonlinearity::Relu => x.relu()?,
        Nonlinearity::Silu => x.silu()?,
    })
}

/// 0 where row i may attend to row j, −∞ elsewhere: [n, n].
pub(super) fn mask(packed: &Packed, window: Option<usize>) -> Result<Tensor> {
    let n = packed.tokens.len();
    let mut mask = vec![f32::NEG_INFINITY; n * n];
    let near = |i: usize, j: usize| {
        let distance = (packed.positions[i] - packed.positions[j]) as usize;
        window.is_none_or(|window| distance < window)
    };
    for segment in &packed.segments {
        for i in segment.range.clone() {
            let seen = packed.prefix(segment).chain(segment.range.start..i + 1);
            for j in seen.filter(|j| near(i, *j)) {
                mask[i * n + j] = 0.0;
            }
        }
    }
    Ok(Tensor::from_vec(mask, (n, n), &Device::Cpu)?)
}
