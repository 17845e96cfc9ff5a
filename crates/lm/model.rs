//! A network that came from a checkpoint folder and can go back to one.

use crate::checkpoint::Tensors;
use crate::config::ModelConfig;
use crate::error::{Error, Result};
use crate::file_order::{FileOrder, FileOrders};
use crate::options::{Backend, LoadOptions, OutputHeads, OutputVocabulary};
use crate::parameters::{SCORE_WEIGHT, VALUE_BIAS, VALUE_WEIGHT};
use crate::plain::Plain;
use crate::save::{self, Companions};
use crate::{ends, engine};
use rlhf_device::{Cpu, Device, Precision};
use rlhf_models::{Architecture, Sizes};
use rlhf_objective::{Network, NetworkWrapper};
use rlhf_tensor::{Parameters, Storage};
use std::path::Path;

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
    let (mut config, tokenizer, _) = ends::settle(folder, ModelConfig::load(folder)?)?;
    if options.vocabulary == OutputVocabulary::WithText {
        config.outputs = tokenizer.ids_with_text();
    }
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
    let file = if config.is_dir() {
        config.join("config.json")
    } else {
        config.into()
    };
    let source = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let (config, ..) = ends::settle(source, ModelConfig::read(&file)?)?;
    write_random(&config, seed, folder, &Companions::read(source)?)
}

/// Writes a folder with a random network of an architecture, by its `model_type`, and of these sizes, without
/// a tokenizer.
///
/// # Errors
/// If there is no such architecture, the sizes do not fit each other, or a file cannot be written.
pub fn init_architecture(name: &str, sizes: &Sizes, seed: u64, folder: &Path) -> Result<()> {
    let config = Architecture::config(name, sizes).and_then(ModelConfig::from_json);
    let mut config = config.map_err(Error::Text)?;
    // Ids of the tokens that a model of the default vocabulary has mean nothing here.
    (config.eos, config.bos, config.pad) = (Vec::new(), None, None);
    write_random(&config, seed, folder, &Companions::none())
}

fn write_random(
    config: &ModelConfig,
    seed: u64,
    folder: &Path,
    companions: &Companions,
) -> Result<()> {
    let specs = config.parameter_specs(OutputHeads::Language);
    let mut parameters = Parameters::new(specs, Storage::Frozen);
    config.initialize(&mut parameters, seed);
    save::write(folder, config, &parameters, companions)
}

/// The parameters of a folder, and its configuration as they leave it.
fn read_parameters<D: Device>(
    device: D,
    folder: &Path,
    config: ModelConfig,
    options: &LoadOptions,
) -> Result<(ModelConfig, Parameters<D>)> {
    let model = Tensors::open_model(folder, config.architecture.canonical)?;
    check_labels(folder, &model)?;
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
    let head = config.head_weight();
    model.check(&trunk, &[&head])?;
    let mut parameters = Parameters::on(device, specs, options.storage);
    model.fill(&mut parameters, &FileOrders::of(&config))?;
    if options.heads.has_vocabulary() && config.spec.tied && model.contains(&head) {
        check_tied(folder, &config, &model)?;
    }
    if !value.is_empty()
        && new_head.is_empty()
        && let Some(critic) = Tensors::open_critic(folder, config.architecture.canonical)?
    {
        critic.check(&value, &[])?;
        for spec in &value {
            if let Some(id) = parameters.id(&spec.name) {
                critic.copy(&spec.name, &mut parameters, id, FileOrder::Same)?;
            }
        }
    }
    Ok((config, parameters))
}

/// A reward model has one number a text.
pub(crate) fn check_labels(folder: &Path, model: &Tensors) -> Result<()> {
    match model.shape(SCORE_WEIGHT) {
        Some([labels, _]) if *labels != 1 => Err(Error::invalid(
            &folder.join("config.json"),
            format!(
                "`num_labels` is {labels} (`{SCORE_WEIGHT}` has as many rows): a reward model has one label; \
                 train one with num_labels = 1"
            ),
        )),
        _ => Ok(()),
    }
}

fn not_a_reward_model(folder: &Path) -> Error {
    let message = "has no tensor `score.weight`: this is a language model; train a reward model \
                   from it first (rlhf train --objective reward)";
    Error::invalid(folder, message)
}

/// Some files keep a second copy of the token embedding as the head.
fn check_tied(folder: &Path, config: &ModelConfig, model: &Tensors) -> Result<()> {
    let head = config.head_weight();
    if model.same(&config.token_table(), &head)? {
        return Ok(());
    }
    let message = format!(
        "ties the head to the token embedding, but the file has another `{head}`: write \
         \"tie_word_embeddings\": false to use it"
    );
    Err(Error::invalid(&folder.join("config.json"), message))
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
