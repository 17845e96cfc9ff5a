//! A network that came from a checkpoint folder and can go back to one.

use crate::checkpoint::Tensors;
use crate::models::Part;
use crate::parameters::{HEAD_WEIGHT, SCORE_WEIGHT, VALUE_BIAS, VALUE_WEIGHT};
use crate::save::{self, Companions};
use crate::{Error, ModelConfig, Plain, Result, ends, engine};
use rlhf_device::{Cpu, Device, Precision};
use rlhf_objective::{Network, NetworkWrapper};
use rlhf_tensor::{Parameters, Storage};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What a network answers beside its hidden states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputHeads {
    /// Log-probs.
    Language,
    /// Log-probs, and values from one linear layer on the same hidden states
    /// (`v_head.weight` [1, D], `v_head.bias` \[1\], zero where the checkpoint has none).
    LanguageAndValue,
    /// Values only: a separate critic. Log-probs are answered as zeros and take no gradient.
    Value,
    /// One score a response and nothing else: a reward model (`score.weight` [1, D], no bias, as in
    /// `GPT2ForSequenceClassification`). It is read at the last token that is not the checkpoint's
    /// `pad_token_id`, as transformers does; at the last token where there is no pad id. Loaded to
    /// train from a language model, the head is new and zero.
    Score,
}

impl OutputHeads {
    /// Whether there is a vocabulary head.
    #[must_use]
    pub const fn has_vocabulary(self) -> bool {
        matches!(self, Self::Language | Self::LanguageAndValue)
    }
}

/// Which implementation computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// Our kernels on the CPU, with matrix products in this precision.
    Engine(Precision),
    /// Plain candle operations and candle's autograd: slow, readable, the other's oracle.
    Plain,
}

impl Backend {
    /// Our kernels, all in f32.
    pub const F32: Self = Self::Engine(Precision::F32);
}

/// What a training read keeps for the backward pass. Gradients are the same to the last bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ActivationCheckpointing {
    /// All activations that it needs.
    #[default]
    None,
    /// Each block's input alone: blocks run again in the backward pass (Chen et al. 2016, §3), for
    /// a quarter of the memory at twelve blocks and about two thirds of a forward pass more. The plain
    /// network keeps everything in any case.
    Blocks,
}

/// How to load a checkpoint folder.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LoadOptions {
    /// Frozen or trainable; frozen, in f32 or with matrices in bf16, which the plain network does not
    /// hold.
    pub storage: Storage,
    /// What is kept to train.
    pub activation_checkpointing: ActivationCheckpointing,
    /// The heads.
    pub heads: OutputHeads,
    /// What logits are divided by, in every answer and when decoding.
    pub temperature: f64,
    /// The implementation.
    pub backend: Backend,
}

/// A network with a folder behind it.
pub trait Model: Network {
    /// Writes the network to `folder` (created if missing) in Hugging Face layout: `config.json`,
    /// `model.safetensors` in f32, the tokenizer's files as they were, and, where there is a value
    /// head, `critic.safetensors` beside them.
    ///
    /// # Errors
    /// If a file cannot be written; then no file is left half-written.
    fn save(&self, folder: &Path) -> Result<()>;

    /// The end-of-sequence token that completions are trained to end with, if the checkpoint has one.
    fn eos(&self) -> Option<u32>;

    /// The beginning-of-sequence token, if the checkpoint has one.
    fn bos(&self) -> Option<u32>;

    /// The longest prompt and response together, in tokens.
    fn context(&self) -> usize;
}

/// Loads the network of a checkpoint folder.
///
/// # Errors
/// If a file is missing or malformed, its architecture is not supported, or the plain network is to
/// hold it in bf16.
pub fn load(folder: &Path, options: &LoadOptions) -> Result<Box<dyn Model>> {
    if (options.backend, options.storage) == (Backend::Plain, Storage::FrozenBf16) {
        let message = "is to be held in bf16, which the plain network does not: hold it in f32";
        return Err(Error::invalid(folder, message));
    }
    let (config, ..) = ends::settle(folder, ModelConfig::load(folder)?)?;
    let companions = Companions::read(folder)?;
    let (network, config) = network(folder, config, options)?;
    Ok(Box::new(Loaded {
        network,
        config,
        companions,
    }))
}

/// The network of a folder on the device of its backend: the one place that knows devices by name.
fn network(
    folder: &Path,
    config: ModelConfig,
    options: &LoadOptions,
) -> Result<(Box<dyn Network>, ModelConfig)> {
    match options.backend {
        Backend::Engine(precision) => on_device(Cpu, precision, folder, config, options),
        Backend::Plain => {
            let (config, parameters) = read_parameters(Cpu, folder, config, options)?;
            let (heads, temperature) = (options.heads, options.temperature);
            let network = Plain::new(&config, parameters, heads, temperature);
            Ok((Box::new(network), config))
        }
    }
}

/// The engine's network on a device.
fn on_device<D: Device>(
    device: D,
    precision: Precision,
    folder: &Path,
    config: ModelConfig,
    options: &LoadOptions,
) -> Result<(Box<dyn Network>, ModelConfig)> {
    let (config, parameters) = read_parameters(device, folder, config, options)?;
    let (heads, temperature) = (options.heads, options.temperature);
    let network = engine::Transformer::new(&config, parameters, heads, temperature, precision);
    Ok((
        Box::new(network.with_activation_checkpointing(options.activation_checkpointing)),
        config,
    ))
}

/// Writes a folder with a random network (see [`ModelConfig::initialize`]) of the
/// configuration in `config`, a folder or a file; a tokenizer beside it is copied.
///
/// # Errors
/// If the configuration is malformed or not supported, or a file cannot be written.
pub fn init(config: &Path, seed: u64, folder: &Path) -> Result<()> {
    let file = match config.is_dir() {
        true => config.join("config.json"),
        false => config.into(),
    };
    let source = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let (config, ..) = ends::settle(source, ModelConfig::read(&file)?)?;
    let specs = config.parameter_specs(OutputHeads::Language);
    let mut parameters = Parameters::new(specs, Storage::Frozen);
    config.initialize(&mut parameters, seed);
    save::write(folder, &config, &parameters, &Companions::read(source)?)
}

/// The parameters of a folder, and its configuration as they leave it.
fn read_parameters<D: Device>(
    device: D,
    folder: &Path,
    config: ModelConfig,
    options: &LoadOptions,
) -> Result<(ModelConfig, Parameters<D>)> {
    let model = Tensors::open_model(folder, config.architecture.canonical)?;
    let (config, new_head) = match options.heads {
        OutputHeads::Score if !model.contains(SCORE_WEIGHT) => match options.storage {
            Storage::Trainable => (config.as_new_reward_model(), vec![SCORE_WEIGHT]),
            Storage::Frozen | Storage::FrozenBf16 => return Err(not_a_reward_model(folder)),
        },
        _ => (config, vec![]),
    };
    let specs = config.parameter_specs(options.heads);
    let elsewhere = [&[VALUE_WEIGHT, VALUE_BIAS], &new_head[..]].concat();
    let (value, trunk): (Vec<_>, Vec<_>) = specs
        .iter()
        .cloned()
        .partition(|spec| elsewhere.contains(&spec.name.as_str()));
    model.check(&trunk, &[HEAD_WEIGHT])?;
    let mut parameters = Parameters::on(device, specs, options.storage);
    model.fill(&mut parameters)?;
    if options.heads.has_vocabulary() && config.spec.tied && model.contains(HEAD_WEIGHT) {
        check_tied(folder, &config, &model)?;
    }
    if !value.is_empty()
        && new_head.is_empty()
        && let Some(critic) = Tensors::open_critic(folder, config.architecture.canonical)?
    {
        critic.check(&value, &[])?;
        for spec in &value {
            if let Some(id) = parameters.id(&spec.name) {
                critic.copy(&spec.name, &mut parameters, id)?;
            }
        }
    }
    Ok((config, parameters))
}

fn not_a_reward_model(folder: &Path) -> Error {
    let message = "has no tensor `score.weight`: this is a language model; train a reward model \
                   from it first (rlhf train --objective reward)";
    Error::invalid(folder, message)
}

/// Some files keep a second copy of the token embedding as the head.
fn check_tied(folder: &Path, config: &ModelConfig, model: &Tensors) -> Result<()> {
    let tokens = format!("{}.weight", config.architecture.name(Part::Tokens));
    match model.same(&tokens, HEAD_WEIGHT)? {
        true => Ok(()),
        false => Err(Error::invalid(
            &folder.join("config.json"),
            "ties the head to the token embedding, but the file has another `lm_head.weight`: \
             write \"tie_word_embeddings\": false to use it",
        )),
    }
}

/// A network, and what its folder held beside the tensors.
struct Loaded {
    network: Box<dyn Network>,
    config: ModelConfig,
    companions: Companions,
}

impl Model for Loaded {
    fn save(&self, folder: &Path) -> Result<()> {
        match self.network.parameter_sets()[..] {
            [parameters] => save::write(folder, &self.config, parameters, &self.companions),
            _ => unreachable!("a checkpoint's network has one set of parameters"),
        }
    }

    fn eos(&self) -> Option<u32> {
        self.config.eos.first().copied()
    }

    fn bos(&self) -> Option<u32> {
        self.config.bos
    }

    fn context(&self) -> usize {
        self.config.spec.context
    }
}

impl NetworkWrapper for Loaded {
    type Inner = dyn Network;

    fn inner(&self) -> &Self::Inner {
        &*self.network
    }

    fn inner_mut(&mut self) -> &mut Self::Inner {
        &mut *self.network
    }
}
