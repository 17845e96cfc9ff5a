//! Loads the networks of a run.

use crate::config::{BackendName, Config, Critic, DtypeName};
use crate::progress::busy;
use anyhow::{Context, Result};
use rlhf_lm::{
    Backend, LoadOptions, Model, NewAdapter, OutputHeads, OutputVocabulary, Precision, Restricted,
    load, load_with_adapter,
};
use rlhf_policy::{Networks, Role, SavedNetwork};
use rlhf_tensor::Storage;
use std::path::Path;

/// Loads a network with the temperature, backend and allowed tokens of the settings; one to be trained has the
/// adapter of the settings, if there is one.
pub fn network(
    folder: &Path,
    config: &Config,
    storage: Storage,
    heads: OutputHeads,
) -> Result<Box<dyn Model>> {
    let options = options(config, storage, heads);
    let _busy = busy(format!("loading {}", folder.display()));
    let adapter = config.model.adapter.as_ref();
    let model = match adapter.filter(|_| storage.is_trainable()) {
        Some(adapter) => {
            let (spec, seed) = (adapter.spec(), config.train.seed);
            load_with_adapter(folder, &NewAdapter { spec, seed }, &options)
        }
        None => load(folder, &options),
    };
    let model = model.with_context(|| format!("cannot load {}", folder.display()))?;
    Ok(match &config.sampling.tokens {
        Some(tokens) if heads.has_vocabulary() => {
            let restricted = Restricted::new(model, tokens.clone());
            Box::new(restricted.context("sampling.tokens")?)
        }
        _ => model,
    })
}

/// The options with which the networks of a run are loaded.
pub(crate) fn options(config: &Config, storage: Storage, heads: OutputHeads) -> LoadOptions {
    LoadOptions {
        storage,
        activation_checkpointing: config.train.activation_checkpointing,
        heads,
        vocabulary: OutputVocabulary::WithText,
        temperature: config.sampling.temperature,
        backend: backend(config.model.backend, config.model.dtype),
    }
}

/// The backend of a name. The engine computes in `dtype`; the plain network always in f32.
pub fn backend(name: BackendName, dtype: DtypeName) -> Backend {
    match name {
        BackendName::Engine => Backend::Engine(match dtype {
            DtypeName::F32 => Precision::F32,
            DtypeName::Bf16 => Precision::Bf16,
        }),
        BackendName::Plain => Backend::Plain,
    }
}

/// The storage of frozen weights in `dtype`.
pub fn frozen(dtype: DtypeName) -> Storage {
    match dtype {
        DtypeName::F32 => Storage::Frozen,
        DtypeName::Bf16 => Storage::FrozenBf16,
    }
}

/// `model.path`.
///
/// # Errors
/// If it is not set.
pub fn model_path(config: &Config) -> Result<&Path> {
    config.model.path.as_deref().context("no model")
}

/// Loads the trainable networks of the method from the checkpoint in `folder`: a policy, with a critic if
/// the method has one, or a reward model.
pub(crate) fn networks(folder: &Path, config: &Config) -> Result<Networks> {
    let storage = match config.model.frozen_dtype {
        DtypeName::F32 => Storage::Trainable,
        DtypeName::Bf16 => Storage::TrainableOverBf16,
    };
    let load = |folder: &Path, heads| {
        let model = network(folder, config, storage, heads)?;
        anyhow::Ok(SavedNetwork::new(model, |model, folder| model.save(folder)))
    };
    let facts = config.method.facts();
    if facts.is_reward_model() {
        return Ok(Networks::scorer(load(folder, OutputHeads::Score)?));
    }
    if !facts.has_critic() {
        return Ok(Networks::policy(load(folder, OutputHeads::Language)?));
    }
    match config.model.critic.context("no model.critic")? {
        Critic::Head => {
            let policy = load(folder, OutputHeads::LanguageAndValue)?;
            Ok(Networks::policy(policy).with_value_head()?)
        }
        Critic::Separate => {
            // A checkpoint of a run has the critic in a subfolder. At the start of a run the critic is
            // initialized from the policy's weights.
            let own = Role::Critic.folder(folder);
            let critic = if own.exists() { own } else { folder.into() };
            let policy = Networks::policy(load(folder, OutputHeads::Language)?);
            Ok(policy.with(Role::Critic, load(&critic, OutputHeads::Value)?)?)
        }
    }
}
