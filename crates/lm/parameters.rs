//! The parameters of a network that a spec describes: their table, and where each of them is in it.

use crate::models::Part;
use crate::{ModelConfig, OutputHeads};
use rlhf_device::Device;
use rlhf_tensor::{ParameterId, ParameterSpec, Parameters};

/// The value head's weight, [1, D].
pub const VALUE_WEIGHT: &str = "v_head.weight";
/// The value head's bias, \[1\].
pub const VALUE_BIAS: &str = "v_head.bias";
/// The reward model's head, [1, D], without a bias: transformers' sequence classification with one label.
pub const SCORE_WEIGHT: &str = "score.weight";
/// The vocabulary head's weight, [V, D], where it is not the token embedding.
pub const HEAD_WEIGHT: &str = "lm_head.weight";

impl ModelConfig {
    /// The parameters of a network with these heads. Weights of linear layers are [in, out].
    #[must_use]
    pub fn parameter_specs(&self, heads: OutputHeads) -> Vec<ParameterSpec> {
        let (spec, d) = (&self.spec, self.spec.width);
        let name = |part: Part, what: &str| format!("{}.{what}", self.architecture.name(part));
        let table = |part, rows| ParameterSpec::undecayed(name(part, "weight"), &[rows, d]);
        let vector = |part, what, size| ParameterSpec::undecayed(name(part, what), &[size]);
        let norm = |part| [vector(part, "weight", d), vector(part, "bias", d)];
        let linear = |part, inputs, outputs| {
            let weight = ParameterSpec::matrix(name(part, "weight"), &[inputs, outputs]);
            [weight.may_round(), vector(part, "bias", outputs)]
        };
        let mut all = vec![
            table(Part::Tokens, spec.vocab).may_round(),
            table(Part::Positions, spec.context),
        ];
        for (layer, block) in spec.blocks.iter().enumerate() {
            all.extend(norm(Part::Norm1(layer)));
            all.extend(norm(Part::Norm2(layer)));
            all.extend(linear(Part::Qkv(layer), d, 3 * d));
            all.extend(linear(Part::AttentionOut(layer), d, d));
            all.extend(linear(Part::Inner(layer), d, block.inner));
            all.extend(linear(Part::InnerOut(layer), block.inner, d));
        }
        all.extend(norm(Part::LastNorm));
        if heads.has_vocabulary() && !spec.tied {
            all.push(ParameterSpec::matrix(HEAD_WEIGHT, &[spec.vocab, d]).may_round());
        }
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

    /// Fills parameters as the architecture's are at the start of training.
    pub fn initialize(&self, parameters: &mut Parameters, seed: u64) {
        self.architecture.initialize(&self.spec, parameters, seed);
    }

    /// Where each parameter is in a table made from [`parameter_specs`](Self::parameter_specs).
    ///
    /// # Panics
    /// If it was made from something else.
    #[must_use]
    pub(crate) fn ids<D: Device>(&self, parameters: &Parameters<D>) -> ModelIds {
        let id = |name: &str| {
            let none = || panic!("parameters have no `{name}`");
            parameters.id(name).unwrap_or_else(none)
        };
        let affine = |part: Part| {
            let name = self.architecture.name(part);
            Affine {
                weight: id(&format!("{name}.weight")),
                bias: id(&format!("{name}.bias")),
            }
        };
        let table = |part: Part| id(&format!("{}.weight", self.architecture.name(part)));
        let block = |layer: usize| BlockIds {
            norm_1: affine(Part::Norm1(layer)),
            qkv: affine(Part::Qkv(layer)),
            attention_out: affine(Part::AttentionOut(layer)),
            norm_2: affine(Part::Norm2(layer)),
            inner: affine(Part::Inner(layer)),
            inner_out: affine(Part::InnerOut(layer)),
        };
        let tokens = table(Part::Tokens);
        let number = [VALUE_WEIGHT, SCORE_WEIGHT];
        let number = number.iter().find_map(|name| parameters.id(name));
        ModelIds {
            tokens,
            positions: table(Part::Positions),
            blocks: (0..self.spec.blocks.len()).map(block).collect(),
            norm: affine(Part::LastNorm),
            head: parameters.id(HEAD_WEIGHT).unwrap_or(tokens),
            number: number.map(|weight| Number {
                weight,
                bias: parameters.id(VALUE_BIAS),
            }),
        }
    }
}

/// A linear or norm layer's weight and bias.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Affine {
    pub(crate) weight: ParameterId,
    pub(crate) bias: ParameterId,
}

/// A linear layer from a hidden state to one number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Number {
    /// The weight, [1, D].
    pub(crate) weight: ParameterId,
    /// The bias \[1\], if there is one.
    pub(crate) bias: Option<ParameterId>,
}

/// One block's parameters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockIds {
    /// The norm before attention.
    pub(crate) norm_1: Affine,
    /// Queries, keys and values.
    pub(crate) qkv: Affine,
    /// The projection after attention.
    pub(crate) attention_out: Affine,
    /// The norm before the feed-forward layer.
    pub(crate) norm_2: Affine,
    /// Into the feed-forward layer.
    pub(crate) inner: Affine,
    /// Out of it.
    pub(crate) inner_out: Affine,
}

/// Where each parameter of a network is.
#[derive(Debug, Clone)]
pub(crate) struct ModelIds {
    /// The token embedding.
    pub(crate) tokens: ParameterId,
    /// The position embedding.
    pub(crate) positions: ParameterId,
    pub(crate) blocks: Vec<BlockIds>,
    /// The last norm.
    pub(crate) norm: Affine,
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
        assert!((spread(ids.blocks[0].qkv.weight) / 0.02 - 1.0).abs() < 0.34);
        assert!((spread(ids.blocks[0].inner.weight) / 0.02 - 1.0).abs() < 0.65);
        assert!((spread(ids.blocks[1].inner_out.weight) / 0.01 - 1.0).abs() < 0.65);
        assert_eq!(first.weights().get(ids.norm.weight), [1.0; 6]);
        assert_eq!(spread(ids.blocks[0].norm_2.bias), 0.0);
        let again = parameters(true, OutputHeads::LanguageAndValue, 3).1;
        assert_eq!(first.checksum(), again.checksum());
        let other = parameters(true, OutputHeads::LanguageAndValue, 4).1;
        assert_ne!(first.checksum(), other.checksum());
    }
}
