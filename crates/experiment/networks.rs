//! The networks of a run, loaded as its settings say.

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

/// A frozen or trainable network of the settings' temperature and implementation; one that is trained has the
/// settings' adapter, if there is one.
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
            let few = Restricted::new(model, tokens.clone());
            Box::new(few.context("sampling.tokens")?)
        }
        _ => model,
    })
}

/// How the networks of a run are loaded.
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

/// The implementation of a name, which computes in `dtype` where it can.
pub fn backend(name: BackendName, dtype: DtypeName) -> Backend {
    match name {
        BackendName::Engine => Backend::Engine(match dtype {
            DtypeName::F32 => Precision::F32,
            DtypeName::Bf16 => Precision::Bf16,
        }),
        BackendName::Plain => Backend::Plain,
    }
}

/// How prior and reward models that are held in this type of number are stored.
pub fn frozen(dtype: DtypeName) -> Storage {
    match dtype {
        DtypeName::F32 => Storage::Frozen,
        DtypeName::Bf16 => Storage::FrozenBf16,
    }
}

/// `[model] path`.
pub fn model_path(config: &Config) -> Result<&Path> {
    config.model.path.as_deref().context("no model")
}

/// The networks in `folder`, to train, for the roles that a method needs; the critic is the one of the
/// settings.
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
            // A checkpoint of ours has the critic beside it; a first one lends its weights.
            let own = Role::Critic.folder(folder);
            let critic = if own.exists() { own } else { folder.into() };
            let policy = Networks::policy(load(folder, OutputHeads::Language)?);
            Ok(policy.with(Role::Critic, load(&critic, OutputHeads::Value)?)?)
        }
    }
}
