//! The networks of a run, loaded as its settings say.

use crate::config::{BackendName, Config, Critic, DtypeName};
use crate::progress::busy;
use anyhow::{Context, Result};
use rlhf_lm::{Backend, Heads, LoadOptions, Model, Restricted, load};
use rlhf_policy::ActorCritic;
use rlhf_tensor::Storage;
use rlhf_tensor::cpu::Precision;
use rlhf_train::Trains;
use std::path::Path;

/// A frozen or trainable network of the settings' temperature and implementation.
pub fn network(
    folder: &Path,
    config: &Config,
    storage: Storage,
    heads: Heads,
) -> Result<Box<dyn Model>> {
    let options = options(config, storage, heads);
    let _busy = busy(format!("loading {}", folder.display()));
    let model = load(folder, &options);
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
pub(crate) fn options(config: &Config, storage: Storage, heads: Heads) -> LoadOptions {
    LoadOptions {
        storage,
        recompute: config.train.recompute,
        heads,
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

/// The network in `folder`, to train: the policy with the critic of the settings, or a reward model.
pub(crate) fn policy(folder: &Path, config: &Config) -> Result<ActorCritic> {
    let load = |folder: &Path, heads| network(folder, config, Storage::Trainable, heads);
    if config.method.facts().trains == Trains::RewardModel {
        return Ok(ActorCritic::new(load(folder, Heads::Score)?));
    }
    Ok(match config.model.critic {
        None => ActorCritic::new(load(folder, Heads::Language)?),
        Some(Critic::Head) => ActorCritic::new(load(folder, Heads::LanguageAndValue)?),
        Some(Critic::Separate) => {
            // A checkpoint of ours has the critic beside it; a first one lends its weights.
            let own = folder.join("critic");
            let critic = if own.exists() { own } else { folder.into() };
            let policy = load(folder, Heads::Language)?;
            ActorCritic::with_critic(policy, load(&critic, Heads::Value)?)
        }
    })
}
