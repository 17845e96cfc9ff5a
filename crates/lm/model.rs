//! A network that came from a checkpoint folder and can go back to one.

use crate::config::ModelConfig;
use crate::ends;
use crate::error::{Error, Result};
use crate::options::OutputHeads;
use crate::save::{self, Companions};
use rlhf_models::{Architecture, Sizes};
use rlhf_objective::Network;
use rlhf_tensor::{Parameters, Storage};
use std::path::Path;

/// A network with a folder behind it.
pub trait Model: Network {
    /// Writes the network to `folder` (created if missing) in Hugging Face layout: `config.json`,
    /// `model.safetensors` in f32, the tokenizer's files as they were, and, where there is a value
    /// head, `critic.safetensors` beside them. Of a network with an adapter, the adapter alone is written, in
    /// PEFT's layout: `adapter_config.json`, which names the base, and `adapter_model.safetensors`.
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
