//! GPT-2's parameters (Radford et al. 2019), named as in Hugging Face checkpoints.

use crate::{Gpt2Config, Heads};
use rlhf_tensor::{Init, ParameterId, ParameterSpec, Parameters, Rng, Stream};

/// The value head's weight, [1, D].
pub const VALUE_WEIGHT: &str = "v_head.weight";
/// The value head's bias, \[1\].
pub const VALUE_BIAS: &str = "v_head.bias";
/// The vocabulary head's weight, [V, D], where it is not the token embedding.
pub const HEAD_WEIGHT: &str = "lm_head.weight";

/// The parameters of a network with these heads. Linear weights are [in, out], as GPT-2's
/// checkpoints have them.
#[must_use]
pub fn specs(config: &Gpt2Config, heads: Heads) -> Vec<ParameterSpec> {
    let (d, inner) = (config.width, config.inner);
    let mut specs = vec![
        ParameterSpec::undecayed("transformer.wte.weight", &[config.vocab, d]),
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
            specs.push(ParameterSpec::matrix(weight, &[inputs, outputs]));
            specs.push(ParameterSpec::undecayed(
                name(&format!("{part}.bias")),
                &[outputs],
            ));
        }
    }
    specs.push(ParameterSpec::undecayed("transformer.ln_f.weight", &[d]));
    specs.push(ParameterSpec::undecayed("transformer.ln_f.bias", &[d]));
    if heads != Heads::Value && !config.tied {
        specs.push(ParameterSpec::matrix(HEAD_WEIGHT, &[config.vocab, d]));
    }
    if heads != Heads::Language {
        specs.push(ParameterSpec::matrix(VALUE_WEIGHT, &[1, d]));
        specs.push(ParameterSpec::undecayed(VALUE_BIAS, &[1]));
    }
    specs
}

/// Fills parameters as GPT-2's are at the start: normal weights of deviation 0.02, residual
/// projections smaller by √(2·layers) (Radford et al. 2019, §2.3), norms 1 and biases 0; the value
/// head 0, so that a new critic says nothing.
pub fn initialize(config: &Gpt2Config, parameters: &mut Parameters, seed: u64) {
    let residual = 0.02 / (2.0 * config.layers as f64).sqrt();
    let names: Vec<String> = parameters.specs().map(|spec| spec.name.clone()).collect();
    for (index, name) in names.iter().enumerate() {
        let init = if name.starts_with("v_head") || name.ends_with("bias") {
            Init::Constant(0.0)
        } else if name.contains("ln_") {
            Init::Constant(1.0)
        } else if name.ends_with("c_proj.weight") {
            Init::Normal { std: residual }
        } else {
            Init::Normal { std: 0.02 }
        };
        parameters.initialize(
            name,
            init,
            &mut Rng::new(seed, Stream::Init, index as u64, 0),
        );
    }
}

/// A linear or norm layer's weight and bias.
#[derive(Debug, Clone, Copy)]
pub struct Affine {
    /// The weight.
    pub weight: ParameterId,
    /// The bias.
    pub bias: ParameterId,
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
    /// The value head, if there is one.
    pub value: Option<Affine>,
}

impl Gpt2Ids {
    /// Looks the names up in parameters made from [`specs`].
    ///
    /// # Panics
    /// If they were made from something else.
    #[must_use]
    pub fn new(config: &Gpt2Config, parameters: &Parameters) -> Self {
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
            value: parameters.id(VALUE_WEIGHT).map(|_| affine("v_head".into())),
        }
    }
}
