//! Loading the network of a checkpoint's folder: its own weights, or an adapter over those of its base.

use crate::adapter::layers::{initialize, parameter_specs};
use crate::adapter::peft::is_adapter;
use crate::adapter::spec::AdapterSpec;
use crate::adapter::{base, weights};
use crate::checkpoint::Tensors;
use crate::config::{Adapter, ModelConfig};
use crate::error::{Error, Result};
use crate::file_order::{FileOrder, FileOrders};
use crate::model::Model;
use crate::options::{Backend, LoadOptions, OutputHeads, OutputVocabulary};
use crate::parameters::{SCORE_WEIGHT, VALUE_BIAS, VALUE_WEIGHT};
use crate::plain::Plain;
use crate::save::{self, Companions};
use crate::{ends, engine};
use rlhf_device::{Cpu, Device, Precision};
use rlhf_objective::{Network, NetworkWrapper, ParameterSet};
use rlhf_tensor::{ParameterSpec, Parameters, SharedWeights, Storage};
use std::path::Path;
use std::sync::Arc;

/// An adapter that is not trained yet.
#[derive(Debug, Clone, PartialEq)]
pub struct NewAdapter {
    /// Its size and its layers.
    pub spec: AdapterSpec,
    /// The seed of its first weights.
    pub seed: u64,
}

/// Loads the network of a checkpoint's folder. A folder in PEFT's layout is an adapter: the weights of its base
/// are frozen, and read once for all networks over them; to be trained is the adapter, with the head of one number.
///
/// # Errors
/// If a file is missing or malformed, its architecture is not supported, or the plain network is to
/// hold it in bf16.
pub fn load(folder: &Path, options: &LoadOptions) -> Result<Box<dyn Model>> {
    let config = ModelConfig::load(folder)?;
    loaded(folder, config, None, options)
}

/// Loads the network of a checkpoint's folder with a new adapter on it, which changes nothing yet. A folder that
/// is an adapter already is loaded as it is.
///
/// # Errors
/// As [`load`], and if a target names no layer.
pub fn load_with_adapter(
    folder: &Path,
    new: &NewAdapter,
    options: &LoadOptions,
) -> Result<Box<dyn Model>> {
    if is_adapter(folder) {
        return load(folder, options);
    }
    let config = ModelConfig::load(folder)?;
    let config = config
        .with_adapter(new.spec.clone(), folder)
        .map_err(Error::Text)?;
    loaded(folder, config, Some(new.seed), options)
}

fn loaded(
    folder: &Path,
    config: ModelConfig,
    seed: Option<u64>,
    options: &LoadOptions,
) -> Result<Box<dyn Model>> {
    let bf16 = matches!(
        options.storage,
        Storage::FrozenBf16 | Storage::TrainableOverBf16
    );
    if bf16 && options.backend == Backend::Plain {
        let message = "is to be held in bf16, which the plain network does not: hold it in f32";
        return Err(Error::invalid(folder, message));
    }
    let (mut config, tokenizer, _) = ends::settle(folder, config)?;
    if options.vocabulary == OutputVocabulary::WithText {
        config.outputs = tokenizer.ids_with_text();
    }
    let companions = Companions::of_checkpoint(folder, &config)?;
    let (config, parameters) = read_parameters(Cpu, folder, config, seed, options)?;
    let network: Box<dyn Network> = match options.backend {
        Backend::Engine(precision) => engine_network(&config, parameters, precision, options),
        Backend::Plain => {
            let (heads, temperature) = (options.heads, options.temperature);
            Box::new(Plain::new(&config, parameters, heads, temperature))
        }
    };
    Ok(Box::new(Loaded {
        network,
        config,
        companions,
    }))
}

/// The engine's network over parameters on a device.
fn engine_network<D: Device>(
    config: &ModelConfig,
    parameters: Parameters<D>,
    precision: Precision,
    options: &LoadOptions,
) -> Box<dyn Network> {
    let (heads, temperature) = (options.heads, options.temperature);
    let network = engine::Transformer::new(config, parameters, heads, temperature, precision);
    Box::new(network.with_activation_checkpointing(options.activation_checkpointing))
}

/// Writes the network of an adapter's folder as a checkpoint of its own: W + s·B·A in the place of each adapted
/// W, in f32.
///
/// # Errors
/// If the folder holds no adapter, it cannot be loaded, or a file cannot be written.
pub fn merge(folder: &Path, out: &Path) -> Result<()> {
    let config = ModelConfig::load(folder)?;
    let Some(adapter) = config.adapter.clone() else {
        let message = "holds no adapter (adapter_config.json): there is nothing to merge";
        return Err(Error::invalid(folder, message));
    };
    let (config, ..) = ends::settle(folder, config)?;
    let companions = Companions::of_checkpoint(folder, &config)?;
    let model = Tensors::open_model(&adapter.base, config.architecture.canonical)?;
    let score = model.contains(SCORE_WEIGHT) || weights::tensors(folder)?.contains(SCORE_WEIGHT);
    let heads = if score {
        OutputHeads::Score
    } else if folder.join(crate::checkpoint::CRITIC).exists() {
        OutputHeads::LanguageAndValue
    } else {
        OutputHeads::Language
    };
    let options = LoadOptions {
        storage: Storage::Frozen,
        activation_checkpointing: crate::ActivationCheckpointing::None,
        heads,
        vocabulary: OutputVocabulary::Whole,
        temperature: 1.0,
        backend: Backend::F32,
    };
    let (config, adapted) = read_parameters(Cpu, folder, config, None, &options)?;
    let mut merged = Parameters::new(config.parameter_specs(heads), Storage::Frozen);
    let names: Vec<String> = merged.specs().map(|spec| spec.name.clone()).collect();
    for name in &names {
        merged.set(
            name,
            &ParameterSet::weights(&adapted, name).map_err(lm_error)?,
        )?;
    }
    for layer in &adapter.layers {
        let [a, b] = [layer.a(), layer.b()].map(|name| ParameterSet::weights(&adapted, &name));
        let (a, b) = (a.map_err(lm_error)?, b.map_err(lm_error)?);
        let id = merged.id(&format!("{}.weight", layer.module));
        let id = id.expect("an adapted layer has a weight");
        let weight = merged.weights_mut(id);
        layer.add_update(weight, (&a, &b), adapter.spec.scale(), config.spec.layout);
    }
    save::write(out, &config.without_adapter(), &merged, &companions)
}

fn lm_error(error: rlhf_objective::Error) -> Error {
    Error::Text(error.to_string())
}

/// The parameters of a folder, and its configuration as they leave it. A `seed` is that of a new adapter.
fn read_parameters<D: Device>(
    device: D,
    folder: &Path,
    config: ModelConfig,
    seed: Option<u64>,
    options: &LoadOptions,
) -> Result<(ModelConfig, Parameters<D>)> {
    let model = Tensors::open_model(config.weights_folder(folder), config.architecture.canonical)?;
    check_labels(folder, &model)?;
    let adapter = match (&config.adapter, seed) {
        (Some(_), None) => Some(weights::tensors(folder)?),
        _ => None,
    };
    let from_adapter = |name: &str| {
        adapter
            .as_ref()
            .is_some_and(|tensors| tensors.contains(name))
    };
    let has_score = model.contains(SCORE_WEIGHT) || from_adapter(SCORE_WEIGHT);
    let (config, new_score) = if options.heads != OutputHeads::Score || has_score {
        (config, false)
    } else if options.storage.is_trainable() {
        (config.as_new_reward_model(), true)
    } else {
        return Err(not_a_reward_model(folder));
    };
    let (of_heads, trunk): (Vec<_>, Vec<_>) = config
        .parameter_specs(options.heads)
        .into_iter()
        .partition(|spec| [VALUE_WEIGHT, VALUE_BIAS, SCORE_WEIGHT].contains(&spec.name.as_str()));
    let orders = FileOrders::of(&config);
    let frozen = !options.storage.is_trainable() && options.heads == OutputHeads::Language;
    let mut parameters = match &config.adapter {
        None if frozen => {
            check_model(&model, &trunk, &of_heads, &config)?;
            let shared = base_weights(device, folder, &config, &model, options)?;
            Parameters::over(&shared, Vec::new(), options.storage)
        }
        None => {
            let mut specs = trunk.clone();
            specs.extend(of_heads.iter().cloned());
            check_model(&model, &trunk, &of_heads, &config)?;
            let mut parameters = Parameters::on(device, specs, options.storage);
            model.fill(&mut parameters, &orders)?;
            parameters
        }
        Some(own) => {
            let shared = base_weights(device, &own.base, &config, &model, options)?;
            let mut specs = parameter_specs(&own.layers, own.spec.rank);
            specs.extend(of_heads.iter().cloned());
            let mut parameters = Parameters::over(&shared, specs, options.storage);
            if let Some(id) = parameters.id(SCORE_WEIGHT)
                && model.contains(SCORE_WEIGHT)
            {
                model.copy(SCORE_WEIGHT, &mut parameters, id, FileOrder::Same)?;
            }
            parameters
        }
    };
    if let (Some(own), Some(tensors)) = (&config.adapter, &adapter) {
        fill_adapter(&mut parameters, own, tensors, &orders)?;
    }
    if let (Some(own), Some(seed)) = (&config.adapter, seed) {
        initialize(&mut parameters, &own.layers, seed);
    }
    if options.heads.has_vocabulary() && config.spec.tied && model.contains(&config.head_weight()) {
        check_tied(config.weights_folder(folder), &config, &model)?;
    }
    if !new_score {
        fill_value_head(folder, &config, &of_heads, &mut parameters)?;
    }
    Ok((config, parameters))
}

/// Checks that a folder has the tensors of its network, and no others.
fn check_model(
    model: &Tensors,
    trunk: &[ParameterSpec],
    of_heads: &[ParameterSpec],
    config: &ModelConfig,
) -> Result<()> {
    let mut expected = trunk.to_vec();
    let in_model = of_heads.iter().filter(|spec| model.contains(&spec.name));
    expected.extend(in_model.cloned());
    model.check(&expected, &[&config.head_weight()])
}

/// The frozen weights of a folder: those that another network of this process reads already, or else read
/// from their folder.
fn base_weights<D: Device>(
    device: D,
    folder: &Path,
    config: &ModelConfig,
    model: &Tensors,
    options: &LoadOptions,
) -> Result<Arc<SharedWeights<D>>> {
    let storage = options.storage.of_base();
    let head = config.head_weight();
    let mut specs = config.parameter_specs(OutputHeads::Language);
    if !options.heads.has_vocabulary() && !config.spec.tied && !model.contains(&head) {
        specs.retain(|spec| spec.name != head);
    }
    model.check(&specs, &[&head, SCORE_WEIGHT])?;
    base::shared(folder, storage, || {
        let mut parameters = Parameters::on(device, specs, storage);
        model.fill(&mut parameters, &FileOrders::of(config))?;
        Ok(parameters.into_shared())
    })
}

/// Fills an adapter, and the head of a reward model that is saved with it.
fn fill_adapter<D: Device>(
    parameters: &mut Parameters<D>,
    adapter: &Adapter,
    tensors: &Tensors,
    orders: &FileOrders,
) -> Result<()> {
    let specs = parameter_specs(&adapter.layers, adapter.spec.rank);
    tensors.check(&specs, &[SCORE_WEIGHT])?;
    let names = specs.iter().map(|spec| spec.name.as_str());
    for name in names.chain([SCORE_WEIGHT]) {
        if let Some(id) = parameters.id(name)
            && tensors.contains(name)
        {
            tensors.copy(name, parameters, id, orders.get(name))?;
        }
    }
    Ok(())
}

/// Fills a value head from the file beside the network, if there is one.
fn fill_value_head<D: Device>(
    folder: &Path,
    config: &ModelConfig,
    of_heads: &[ParameterSpec],
    parameters: &mut Parameters<D>,
) -> Result<()> {
    let value = |spec: &&ParameterSpec| spec.name != SCORE_WEIGHT;
    let value: Vec<ParameterSpec> = of_heads.iter().filter(value).cloned().collect();
    if value.is_empty() {
        return Ok(());
    }
    if let Some(critic) = Tensors::open_critic(folder, config.architecture.canonical)? {
        critic.check(&value, &[])?;
        for spec in &value {
            if let Some(id) = parameters.id(&spec.name) {
                critic.copy(&spec.name, parameters, id, FileOrder::Same)?;
            }
        }
    }
    Ok(())
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
            [parameters] if self.config.adapter.is_some() => {
                save::write_adapter(folder, &self.config, parameters, &self.companions)
            }
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
