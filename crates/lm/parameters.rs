//! The parameters of a network that a spec describes: their table, where each of them is in it, and what
//! they are at the start of training.

use crate::adapter::layers::linear_layers;
use crate::config::ModelConfig;
use crate::options::OutputHeads;
use rayon::prelude::*;
use rlhf_device::Device;
use rlhf_models::FirstWeights;
use rlhf_models::{BlockPart, Part, Role, Which};
use rlhf_tensor::{ParameterId, ParameterSpec, Parameters, Rng, Stream};
use std::collections::HashMap;
use std::ops::Range;

/// The value head's weight, [1, D].
pub const VALUE_WEIGHT: &str = "v_head.weight";
/// The value head's bias, \[1\].
pub const VALUE_BIAS: &str = "v_head.bias";
/// The reward model's head, [1, D], without a bias: transformers' sequence classification with one label.
pub const SCORE_WEIGHT: &str = "score.weight";

impl ModelConfig {
    /// The parameters of a network with these heads. Weights of linear layers are as the architecture's
    /// files store them ([`WeightLayout`](crate::WeightLayout)).
    #[must_use]
    pub fn parameter_specs(&self, heads: OutputHeads) -> Vec<ParameterSpec> {
        let mut all = Vec::new();
        for tensor in self.spec.tensors() {
            if tensor.part == Part::Head && !heads.has_vocabulary() {
                continue;
            }
            let name = self.architecture.tensor(&tensor);
            let spec = match tensor.role {
                Role::Matrix | Role::ResidualMatrix => {
                    ParameterSpec::matrix(name, &tensor.shape).may_round()
                }
                Role::Table if tensor.part == Part::Tokens => {
                    ParameterSpec::undecayed(name, &tensor.shape).may_round()
                }
                Role::Table | Role::Scale | Role::ScaleLessOne | Role::Bias => {
                    ParameterSpec::undecayed(name, &tensor.shape)
                }
            };
            all.push(if tensor.adjoins {
                spec.adjoining()
            } else {
                spec
            });
        }
        let d = self.spec.width;
        match heads {
            OutputHeads::Language => {}
            OutputHeads::LanguageAndValue | OutputHeads::Value => {
                all.push(ParameterSpec::matrix(VALUE_WEIGHT, &[1, d]));
                all.push(ParameterSpec::undecayed(VALUE_BIAS, &[1]));
            }
            OutputHeads::Score => all.push(ParameterSpec::matrix(SCORE_WEIGHT, &[1, d])),
        }
        all
    }

    /// The number of outputs of each linear layer of the blocks.
    fn outputs(&self) -> HashMap<Part, usize> {
        let layers = linear_layers(self).into_iter();
        layers.map(|layer| (layer.part, layer.outputs)).collect()
    }

    /// The name of the vocabulary head's weight [V, D], where it is not the token embedding.
    pub(crate) fn head_weight(&self) -> String {
        self.architecture.tensor_name(Part::Head, Which::Weight)
    }

    /// The name of the token embedding [V, D].
    pub(crate) fn token_table(&self) -> String {
        self.architecture.tensor_name(Part::Tokens, Which::Weight)
    }

    /// Fills parameters as the architecture's are at the start of training: matrices and embeddings with
    /// normal values, norms so that they multiply by 1, biases 0; the heads of one number 0, so that a new
    /// critic or reward model answers 0.
    pub fn initialize(&self, parameters: &mut Parameters, seed: u64) {
        let (std, residual) = match self.architecture.first_weights {
            FirstWeights::Gpt2 => {
                let depth = 2.0 * self.spec.blocks.len() as f64;
                (0.02, 0.02 / depth.sqrt())
            }
            FirstWeights::InitializerRange => (self.initial_deviation, self.initial_deviation),
        };
        let tensors = self.spec.tensors();
        let roles: HashMap<String, Role> = tensors
            .iter()
            .map(|tensor| (self.architecture.tensor(tensor), tensor.role))
            .collect();
        let names: Vec<String> = parameters.specs().map(|spec| spec.name.clone()).collect();
        for (index, (id, name)) in parameters.ids().zip(&names).enumerate() {
            let std = match roles.get(name) {
                Some(Role::Scale) => {
                    parameters.weights_mut(id).fill(1.0);
                    continue;
                }
                Some(Role::Table | Role::Matrix) => std,
                Some(Role::ResidualMatrix) => residual,
                Some(Role::ScaleLessOne | Role::Bias) | None => 0.0,
            };
            fill_normal(parameters.weights_mut(id), std, seed, index as u64);
        }
    }

    /// Where each parameter is in a table made from [`parameter_specs`](Self::parameter_specs).
    ///
    /// # Panics
    /// If it was made from something else.
    #[must_use]
    pub(crate) fn ids<D: Device>(&self, parameters: &Parameters<D>) -> ModelIds {
        let find = |part, which| parameters.id(&self.architecture.tensor_name(part, which));
        let found: HashMap<(Part, Which), ParameterId> = self
            .spec
            .tensors()
            .iter()
            .filter_map(|tensor| {
                let id = find(tensor.part, tensor.which)?;
                Some(((tensor.part, tensor.which), id))
            })
            .collect();
        let low_rank = self.adapter.iter().flat_map(|adapter| {
            let scale = adapter.spec.scale() as f32;
            adapter.layers.iter().filter_map(move |layer| {
                let [a, b] = [layer.a(), layer.b()].map(|name| parameters.id(&name));
                Some((layer.part, (a?, b?, layer.outputs, scale)))
            })
        });
        let ids = Ids {
            found,
            low_rank: low_rank.collect(),
            outputs: self.outputs(),
        };
        let tokens = ids.weight(Part::Tokens);
        let number = [VALUE_WEIGHT, SCORE_WEIGHT];
        let number = number.iter().find_map(|name| parameters.id(name));
        ModelIds {
            tokens,
            positions: ids.get(Part::Positions, Which::Weight),
            blocks: (0..self.spec.blocks.len())
                .map(|layer| ids.block(layer))
                .collect(),
            norm: ids
                .norm(Part::FinalNorm)
                .expect("a network has a last norm"),
            head: ids.get(Part::Head, Which::Weight).unwrap_or(tokens),
            number: number.map(|weight| Number {
                weight,
                bias: parameters.id(VALUE_BIAS),
            }),
        }
    }
}

/// Normal values, piece by piece, each piece from a generator of its own: the same whichever thread
/// fills it.
fn fill_normal(values: &mut [f32], std: f64, seed: u64, index: u64) {
    let pieces = values.par_chunks_mut(1 << 16).enumerate();
    pieces.for_each(|(piece, values)| {
        let mut rng = Rng::new(seed, Stream::Init, index, piece as u64);
        values.fill_with(|| (std * rng.normal()) as f32);
    });
}

/// The parameters that are there, by part.
struct Ids {
    found: HashMap<(Part, Which), ParameterId>,
    /// A, B, the number of outputs and the scale of the parts with adapters.
    low_rank: HashMap<Part, (ParameterId, ParameterId, usize, f32)>,
    /// The number of outputs of each linear layer.
    outputs: HashMap<Part, usize>,
}

impl Ids {
    fn get(&self, part: Part, which: Which) -> Option<ParameterId> {
        self.found.get(&(part, which)).copied()
    }

    /// The adapters of the parts that are there, which lie side by side.
    fn low_rank(&self, parts: &[Part]) -> Option<LowRankIds> {
        let mut all = LowRankIds {
            a: Vec::new(),
            b: Vec::new(),
            scale: 0.0,
        };
        let mut column = 0;
        for part in parts {
            if self.get(*part, Which::Weight).is_none() {
                continue;
            }
            if let Some((a, b, outputs, scale)) = self.low_rank.get(part) {
                all.a.push(*a);
                all.b.push((*b, column..column + outputs));
                all.scale = *scale;
            }
            column += self.outputs.get(part).copied().unwrap_or(0);
        }
        (!all.a.is_empty()).then_some(all)
    }

    fn weight(&self, part: Part) -> ParameterId {
        let none = || panic!("parameters have no weight of {part:?}");
        self.get(part, Which::Weight).unwrap_or_else(none)
    }

    fn norm(&self, part: Part) -> Option<NormIds> {
        Some(NormIds {
            weight: self.get(part, Which::Weight)?,
            bias: self.get(part, Which::Bias),
        })
    }

    /// The layer whose outputs are those of the parts that are there, side by side.
    fn linear(&self, parts: &[Part]) -> LinearIds {
        let all = |which| -> Vec<ParameterId> {
            let ids = parts.iter().filter_map(|part| self.get(*part, which));
            ids.collect()
        };
        LinearIds {
            weights: all(Which::Weight),
            biases: all(Which::Bias),
            low_rank: self.low_rank(parts),
        }
    }

    fn block(&self, layer: usize) -> BlockIds {
        let of = |part| Part::Block(layer, part);
        let norm = |part| self.norm(of(part));
        let linear = |parts: &[BlockPart]| {
            let parts: Vec<Part> = parts.iter().map(|part| of(*part)).collect();
            self.linear(&parts)
        };
        let weight = |part| self.get(of(part), Which::Weight);
        BlockIds {
            attention_norm: norm(BlockPart::AttentionNorm),
            attention_post_norm: norm(BlockPart::AttentionPostNorm),
            qkv: linear(&[
                BlockPart::Qkv,
                BlockPart::Query,
                BlockPart::Key,
                BlockPart::Value,
            ]),
            query_norm: weight(BlockPart::QueryNorm),
            key_norm: weight(BlockPart::KeyNorm),
            attention_out: linear(&[BlockPart::AttentionOut]),
            mlp_norm: norm(BlockPart::MlpNorm),
            mlp_post_norm: norm(BlockPart::MlpPostNorm),
            up: linear(&[BlockPart::Gate, BlockPart::Up]),
            down: linear(&[BlockPart::Down]),
        }
    }
}

/// The weights and biases of a linear layer: one each, or those of several layers that read the same input
/// and lie side by side. No biases where it has none.
#[derive(Debug, Clone)]
pub(crate) struct LinearIds {
    pub(crate) weights: Vec<ParameterId>,
    pub(crate) biases: Vec<ParameterId>,
    /// The adapters of these layers, if there are any.
    pub(crate) low_rank: Option<LowRankIds>,
}

/// The adapters of layers that read the same input: y += s·(x·Aᵀ)·Bᵀ.
#[derive(Debug, Clone)]
pub(crate) struct LowRankIds {
    /// A of each adapted layer, [r, in], which adjoin.
    pub(crate) a: Vec<ParameterId>,
    /// B of each, [out, r], and its columns in the output of all layers.
    pub(crate) b: Vec<(ParameterId, Range<usize>)>,
    /// s.
    pub(crate) scale: f32,
}

/// The weight of a norm, and its bias if it has one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NormIds {
    pub(crate) weight: ParameterId,
    pub(crate) bias: Option<ParameterId>,
}

/// A linear layer from a hidden state to one number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Number {
    /// The weight, [1, D].
    pub(crate) weight: ParameterId,
    /// The bias \[1\], if there is one.
    pub(crate) bias: Option<ParameterId>,
}

/// One block's parameters. Which norms there are depends on its [`NormPlace`](crate::NormPlace) and its
/// [`QkNorm`](crate::QkNorm).
#[derive(Debug, Clone)]
pub(crate) struct BlockIds {
    /// The norm of what attention reads.
    pub(crate) attention_norm: Option<NormIds>,
    /// The norm of what it answers, or of its sum with the residual stream.
    pub(crate) attention_post_norm: Option<NormIds>,
    /// Queries, keys and values.
    pub(crate) qkv: LinearIds,
    /// The weight of the norm of queries.
    pub(crate) query_norm: Option<ParameterId>,
    /// The weight of the norm of keys.
    pub(crate) key_norm: Option<ParameterId>,
    /// The projection after attention.
    pub(crate) attention_out: LinearIds,
    /// The norm of what the feed-forward layer reads.
    pub(crate) mlp_norm: Option<NormIds>,
    /// The norm of what it answers, or of its sum with the residual stream.
    pub(crate) mlp_post_norm: Option<NormIds>,
    /// The first product of the feed-forward layer: its gate too, if it has one.
    pub(crate) up: LinearIds,
    /// The second.
    pub(crate) down: LinearIds,
}

/// Where each parameter of a network is.
#[derive(Debug, Clone)]
pub(crate) struct ModelIds {
    /// The token embedding.
    pub(crate) tokens: ParameterId,
    /// The position embedding, if positions are learned.
    pub(crate) positions: Option<ParameterId>,
    pub(crate) blocks: Vec<BlockIds>,
    /// The last norm.
    pub(crate) norm: NormIds,
    /// The vocabulary head: the token embedding, where tied.
    pub(crate) head: ParameterId,
    /// The value head or the reward model's, if there is one.
    pub(crate) number: Option<Number>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlhf_tensor::{Storage, WeightDecay};
    use serde_json::json;

    fn parameters(tied: bool, heads: OutputHeads, seed: u64) -> (ModelConfig, Parameters) {
        let config = ModelConfig::from_json(json!({"model_type": "gpt2", "vocab_size": 11,
            "n_positions": 7, "n_embd": 6, "n_head": 2, "n_layer": 2, "n_inner": 5,
            "tie_word_embeddings": tied}))
        .unwrap();
        let mut parameters = Parameters::new(config.parameter_specs(heads), Storage::Frozen);
        config.initialize(&mut parameters, seed);
        (config, parameters)
    }

    #[test]
    fn counts_and_parts() {
        for (tied, heads, extra) in [
            (true, OutputHeads::Language, 0),
            (false, OutputHeads::Language, 0),
            (true, OutputHeads::LanguageAndValue, 7),
            (false, OutputHeads::Value, 7 - 66),
            (false, OutputHeads::Score, 6 - 66),
        ] {
            let (config, parameters) = parameters(tied, heads, 1);
            assert_eq!(
                parameters.count() as i64,
                config.spec.parameters() as i64 + extra
            );
            let ids = config.ids(&parameters);
            assert_eq!(ids.blocks.len(), 2);
            assert_eq!(ids.head == ids.tokens, tied || !heads.has_vocabulary());
            assert_eq!(ids.number.is_some(), heads != OutputHeads::Language);
        }
    }

    #[test]
    fn only_matrices_of_linear_layers_decay() {
        let (_, parameters) = parameters(false, OutputHeads::LanguageAndValue, 1);
        let decayed = parameters
            .specs()
            .filter(|spec| spec.decay == WeightDecay::Yes);
        let names: Vec<&str> = decayed.map(|spec| spec.name.as_str()).collect();
        assert_eq!(names.len(), 2 * 4 + 2);
        let linear = ["c_attn", "c_proj", "c_fc", "lm_head", "v_head"];
        for name in names {
            assert!(linear.iter().any(|part| name.contains(part)), "{name}");
            assert!(name.ends_with(".weight"), "{name}");
        }
    }

    #[test]
    fn random_weights_have_their_spread() {
        let (config, first) = parameters(true, OutputHeads::LanguageAndValue, 3);
        let ids = config.ids(&first);
        let spread = |id| {
            let x: &[f32] = first.weights().get(id);
            let squares: f64 = x.iter().map(|&x| f64::from(x).powi(2)).sum();
            (squares / x.len() as f64).sqrt()
        };
        // Five standard errors of a deviation from 108, 30 and 30 numbers.
        assert!((spread(ids.blocks[0].qkv.weights[0]) / 0.02 - 1.0).abs() < 0.34);
        assert!((spread(ids.blocks[0].up.weights[0]) / 0.02 - 1.0).abs() < 0.65);
        assert!((spread(ids.blocks[1].down.weights[0]) / 0.01 - 1.0).abs() < 0.65);
        assert_eq!(first.weights().get(ids.norm.weight), [1.0; 6]);
        assert_eq!(spread(ids.blocks[0].mlp_norm.unwrap().bias.unwrap()), 0.0);
        let again = parameters(true, OutputHeads::LanguageAndValue, 3).1;
        assert_eq!(first.checksum(), again.checksum());
        let other = parameters(true, OutputHeads::LanguageAndValue, 4).1;
        assert_ne!(first.checksum(), other.checksum());
    }
}
