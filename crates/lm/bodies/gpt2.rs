//! GPT-2's parameters (Radford et al. 2019), named as in Hugging Face checkpoints.

use crate::{Gpt2Config, Heads};
use rayon::prelude::*;
use rlhf_device::Device;
use rlhf_tensor::{ParameterId, ParameterSpec, Parameters, Rng, Stream};

/// The value head's weight, [1, D].
pub const VALUE_WEIGHT: &str = "v_head.weight";
/// The value head's bias, \[1\].
pub const VALUE_BIAS: &str = "v_head.bias";
/// The reward model's head, [1, D], without a bias: `GPT2ForSequenceClassification` with one label.
pub const SCORE_WEIGHT: &str = "score.weight";
/// The vocabulary head's weight, [V, D], where it is not the token embedding.
pub const HEAD_WEIGHT: &str = "lm_head.weight";

/// The parameters of a network with these heads. Linear weights are [in, out], as GPT-2's
/// checkpoints have them.
#[must_use]
pub fn specs(config: &Gpt2Config, heads: Heads) -> Vec<ParameterSpec> {
    let (d, inner) = (config.width, config.inner);
    let mut specs = vec![
        ParameterSpec::undecayed("transformer.wte.weight", &[config.vocab, d]).may_round(),
        ParameterSpec::undecayed("transformer.wpe.weight", &[config.positions, d]),
    ];
    for layer in 0..config.layers {
        let name = |part: &str| format!("transformer.h.{layer}.{part}");
        let mut norm = |part: &str| {
            specs.push(ParameterSpec::undecayed(
                name(&format!("{part}.weight")),
                &[d],
            ));
            specs.push(ParameterSpec::undecayed(
                name(&format!("{part}.bias")),
                &[d],
            ));
        };
        norm("ln_1");
        norm("ln_2");
        for (part, inputs, outputs) in [
            ("attn.c_attn", d, 3 * d),
            ("attn.c_proj", d, d),
            ("mlp.c_fc", d, inner),
            ("mlp.c_proj", inner, d),
        ] {
            let weight = name(&format!("{part}.weight"));
            specs.push(ParameterSpec::matrix(weight, &[inputs, outputs]).may_round());
            specs.push(ParameterSpec::undecayed(
                name(&format!("{part}.bias")),
                &[outputs],
            ));
        }
    }
    specs.push(ParameterSpec::undecayed("transformer.ln_f.weight", &[d]));
    specs.push(ParameterSpec::undecayed("transformer.ln_f.bias", &[d]));
    if heads.has_vocabulary() && !config.tied {
        specs.push(ParameterSpec::matrix(HEAD_WEIGHT, &[config.vocab, d]).may_round());
    }
    match heads {
        Heads::Language => {}
        Heads::LanguageAndValue | Heads::Value => {
            specs.push(ParameterSpec::matrix(VALUE_WEIGHT, &[1, d]));
            specs.push(ParameterSpec::undecayed(VALUE_BIAS, &[1]));
        }
        Heads::Score => specs.push(ParameterSpec::matrix(SCORE_WEIGHT, &[1, d])),
    }
    specs
}

/// Fills parameters as GPT-2's are at the start: normal weights of deviation 0.02, residual
/// projections smaller by √(2·layers) (Radford et al. 2019, §2.3), norms 1 and biases 0; the heads
/// of one number 0, so that a new critic or reward model says nothing.
pub fn initialize(config: &Gpt2Config, parameters: &mut Parameters, seed: u64) {
    let residual = 0.02 / (2.0 * config.layers as f64).sqrt();
    let names: Vec<String> = parameters.specs().map(|spec| spec.name.clone()).collect();
    for (index, (id, name)) in parameters.ids().zip(&names).enumerate() {
        let number = name == SCORE_WEIGHT || name.starts_with("v_head");
        let std = if number || name.ends_with("bias") {
            0.0
        } else if name.contains("ln_") {
            parameters.weights_mut(id).fill(1.0);
            continue;
        } else if name.ends_with("c_proj.weight") {
            residual
        } else {
            0.02
        };
        fill_normal(parameters.weights_mut(id), std, seed, index as u64);
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

/// A linear or norm layer's weight and bias.
#[derive(Debug, Clone, Copy)]
pub struct Affine {
    /// The weight.
    pub weight: ParameterId,
    /// The bias.
    pub bias: ParameterId,
}

/// A linear layer from a hidden state to one number.
#[derive(Debug, Clone, Copy)]
pub struct Number {
    /// The weight, [1, D].
    pub weight: ParameterId,
    /// The bias \[1\], if there is one.
    pub bias: Option<ParameterId>,
}

/// One block's parameters.
#[derive(Debug, Clone, Copy)]
pub struct BlockIds {
    /// The norm before attention.
    pub norm_1: Affine,
    /// Queries, keys and values.
    pub qkv: Affine,
    /// The projection after attention.
    pub attention_out: Affine,
    /// The norm before the feed-forward layer.
    pub norm_2: Affine,
    /// Into the feed-forward layer.
    pub inner: Affine,
    /// Out of it.
    pub inner_out: Affine,
}

/// Where each parameter of a GPT-2 is.
#[derive(Debug, Clone)]
pub struct Gpt2Ids {
    /// The token embedding.
    pub tokens: ParameterId,
    /// The position embedding.
    pub positions: ParameterId,
    /// The blocks.
    pub blocks: Vec<BlockIds>,
    /// The last norm.
    pub norm: Affine,
    /// The vocabulary head: the token embedding, where tied.
    pub head: ParameterId,
    /// The value head or the reward model's, if there is one.
    pub number: Option<Number>,
}

impl Gpt2Ids {
    /// Looks the names up in parameters made from [`specs`].
    ///
    /// # Panics
    /// If they were made from something else.
    #[must_use]
    pub fn new<D: Device>(config: &Gpt2Config, parameters: &Parameters<D>) -> Self {
        let id = |name: &str| {
            parameters
                .id(name)
                .unwrap_or_else(|| panic!("parameters have no `{name}`"))
        };
        let affine = |name: String| Affine {
            weight: id(&format!("{name}.weight")),
            bias: id(&format!("{name}.bias")),
        };
        let block = |layer: usize| {
            let part = |part: &str| affine(format!("transformer.h.{layer}.{part}"));
            BlockIds {
                norm_1: part("ln_1"),
                qkv: part("attn.c_attn"),
                attention_out: part("attn.c_proj"),
                norm_2: part("ln_2"),
                inner: part("mlp.c_fc"),
                inner_out: part("mlp.c_proj"),
            }
        };
        let tokens = id("transformer.wte.weight");
        Self {
            tokens,
            positions: id("transformer.wpe.weight"),
            blocks: (0..config.layers).map(block).collect(),
            norm: affine("transformer.ln_f".into()),
            head: parameters.id(HEAD_WEIGHT).unwrap_or(tokens),
            number: [VALUE_WEIGHT, SCORE_WEIGHT]
                .iter()
                .find_map(|name| parameters.id(name))
                .map(|weight| Number {
                    weight,
                    bias: parameters.id(VALUE_BIAS),
                }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlhf_tensor::{Storage, WeightDecay};
    use serde_json::json;

    fn parameters(tied: bool, heads: Heads, seed: u64) -> (Gpt2Config, Parameters) {
        let config = Gpt2Config::from_json(json!({"model_type": "gpt2", "vocab_size": 11,
            "n_positions": 7, "n_embd": 6, "n_head": 2, "n_layer": 2, "n_inner": 5,
            "tie_word_embeddings": tied}))
        .unwrap();
        let mut parameters = Parameters::new(specs(&config, heads), Storage::Frozen);
        initialize(&config, &mut parameters, seed);
        (config, parameters)
    }

    #[test]
    fn counts_and_parts() {
        for (tied, heads, extra) in [
            (true, Heads::Language, 0),
            (false, Heads::Language, 0),
            (true, Heads::LanguageAndValue, 7),
            (false, Heads::Value, 7 - 66),
            (false, Heads::Score, 6 - 66),
        ] {
            let (config, parameters) = parameters(tied, heads, 1);
            assert_eq!(
                parameters.count() as i64,
                config.parameters() as i64 + extra
            );
            let ids = Gpt2Ids::new(&config, &parameters);
            assert_eq!(ids.blocks.len(), 2);
            assert_eq!(ids.head == ids.tokens, tied || !heads.has_vocabulary());
            assert_eq!(ids.number.is_some(), heads != Heads::Language);
        }
    }

    #[test]
    fn only_matrices_of_linear_layers_decay() {
        let (_, parameters) = parameters(false, Heads::LanguageAndValue, 1);
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
        let (config, first) = parameters(true, Heads::LanguageAndValue, 3);
        let ids = Gpt2Ids::new(&config, &first);
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
        let again = parameters(true, Heads::LanguageAndValue, 3).1;
        assert_eq!(first.checksum(), again.checksum());
        let other = parameters(true, Heads::LanguageAndValue, 4).1;
        assert_ne!(first.checksum(), other.checksum());
    }
}
