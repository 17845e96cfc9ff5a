//! From settings to objects. Here alone the kind of prior is matched.

pub(crate) use crate::dataset::{
    demonstrations, held_out_prompts, opinions, pairs, prompts, some_prompts,
};
pub(crate) use crate::lengths::{context, limits, max_new_tokens};

use crate::config::{
    BackendName, BetaSetting, Config, Critic, DtypeName, ObjectiveName, PriorKind, PriorSection,
};
use crate::prior_plan::PriorPlan;
use crate::progress::Busy;
use anyhow::{Context, Result, ensure};
use rlhf_data::{Append, Template};
use rlhf_lm::{Backend, EndToken, Heads, LoadOptions, Model, Restricted, Tokenizer, inspect, load};
use rlhf_objective::Reward;
use rlhf_policy::{Networks, Role, SavedNetwork};
use rlhf_reward::{Learned, Rules};
use rlhf_tensor::Storage;
use rlhf_tensor::cpu::Precision;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What turns text into tokens of one checkpoint.
pub(crate) struct Vocabulary {
    pub(crate) tokenizer: Tokenizer,
    pub(crate) size: usize,
    /// The tokens that end a response, the one that completions are trained to end with first.
    pub(crate) ends: Vec<u32>,
    /// Which completions that one is appended to.
    pub(crate) append: Append,
    pub(crate) bos: Option<u32>,
    pub(crate) context: usize,
    /// What ends a response and which file says so, in words.
    pub(crate) stops: String,
    /// What is worth knowing of how its files were read.
    pub(crate) notes: Vec<String>,
    /// How it writes conversations, if it does.
    pub(crate) template: Option<Arc<Template>>,
    pub(crate) folder: PathBuf,
}

impl Vocabulary {
    /// The vocabulary of the checkpoint in `folder`, from its headers.
    pub(crate) fn load(folder: &Path) -> Result<Self> {
        let summary = inspect(folder)?;
        let mut vocabulary = Self {
            tokenizer: Tokenizer::load(folder, summary.vocab)?,
            size: summary.vocab,
            ends: summary.ends.iter().map(|end| end.id).collect(),
            append: Append::All,
            bos: summary.bos,
            context: summary.context,
            stops: stops(&summary.ends),
            notes: summary.notes,
            template: Template::load(folder)?.map(Arc::new),
            folder: folder.into(),
        };
        let template = vocabulary.template.as_deref();
        if let Some(end) = template.and_then(|template| vocabulary.tokens().unstopped_end(template))
        {
            vocabulary.notes.push(format!(
                "the chat template ends an answer with {end:?}, in which no token ends a response: \
                 sampling goes on behind it; name its token as eos_token in tokenizer_config.json, or \
                 in eos_token_id of generation_config.json"
            ));
        }
        Ok(vocabulary)
    }

    /// The part of it that turns rows into tokens.
    pub(crate) fn tokens(&self) -> rlhf_data::Vocabulary {
        rlhf_data::Vocabulary {
            tokenizer: self.tokenizer.clone(),
            size: self.size,
            ends: self.ends.clone(),
            append: self.append,
            bos: self.bos,
        }
    }
}

/// What ends a response, in words.
pub(crate) fn stops(ends: &[EndToken]) -> String {
    let ends: Vec<String> = ends.iter().map(EndToken::words).collect();
    match ends.is_empty() {
        true => "no token ends a response: all have the greatest length".into(),
        false => ends.join(", "),
    }
}

/// A frozen or trainable network of the settings' temperature and implementation.
pub(crate) fn network(
    folder: &Path,
    config: &Config,
    storage: Storage,
    heads: Heads,
) -> Result<Box<dyn Model>> {
    let options = options(config, storage, heads);
    let _busy = Busy::new(format!("loading {}", folder.display()));
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
fn options(config: &Config, storage: Storage, heads: Heads) -> LoadOptions {
    LoadOptions {
        storage,
        recompute: config.train.recompute,
        heads,
        temperature: config.sampling.temperature,
        backend: backend(config.model.backend, config.model.dtype),
    }
}

/// The implementation of a name, which computes in `dtype` where it can.
pub(crate) fn backend(name: BackendName, dtype: DtypeName) -> Backend {
    match name {
        BackendName::Engine => Backend::Engine(match dtype {
            DtypeName::F32 => Precision::F32,
            DtypeName::Bf16 => Precision::Bf16,
        }),
        BackendName::Plain => Backend::Plain,
    }
}

/// How prior and reward models that are held in this type of number are stored.
pub(crate) fn frozen(dtype: DtypeName) -> Storage {
    match dtype {
        DtypeName::F32 => Storage::Frozen,
        DtypeName::Bf16 => Storage::FrozenBf16,
    }
}

/// `[model] path`.
pub(crate) fn model_path(config: &Config) -> Result<&Path> {
    config.model.path.as_deref().context("no model")
}

/// The networks in `folder`, to train, for the roles that a method needs; the critic is the one of the
/// settings.
pub(crate) fn networks(folder: &Path, config: &Config, roles: &[Role]) -> Result<Networks> {
    let load = |folder: &Path, heads| {
        let model = network(folder, config, Storage::Trainable, heads)?;
        anyhow::Ok(SavedNetwork::new(model, |model, folder| model.save(folder)))
    };
    if roles.contains(&Role::Scorer) {
        return Ok(Networks::scorer(load(folder, Heads::Score)?));
    }
    if !roles.contains(&Role::Critic) {
        return Ok(Networks::policy(load(folder, Heads::Language)?));
    }
    match config.model.critic.context("no model.critic")? {
        Critic::Head => {
            let policy = load(folder, Heads::LanguageAndValue)?;
            Ok(Networks::policy(policy).with_value_head()?)
        }
        Critic::Separate => {
            // A checkpoint of ours has the critic beside it; a first one lends its weights.
            let own = Role::Critic.folder(folder);
            let critic = if own.exists() { own } else { folder.into() };
            let policy = Networks::policy(load(folder, Heads::Language)?);
            Ok(policy.with(Role::Critic, load(&critic, Heads::Value)?)?)
        }
    }
}

/// The prior of the settings, not loaded yet.
pub(crate) fn prior(config: &Config) -> Result<PriorPlan> {
    prior_of(&config.prior, config)
}

/// The one place where the kind of prior is matched.
pub(crate) fn prior_of(section: &PriorSection, config: &Config) -> Result<PriorPlan> {
    match section.kind {
        PriorKind::Counting => PriorPlan::counting(section, config),
        PriorKind::Uniform => PriorPlan::uniform(section, config),
        PriorKind::Reference => PriorPlan::reference(section, config),
        PriorKind::Demonstrations => PriorPlan::demonstrations(section, config),
        PriorKind::Mixture => PriorPlan::mixture(section, config),
    }
}

/// Refuses a β that would hold what its prior does not give.
pub(crate) fn check_beta(config: &Config) -> Result<()> {
    match config.beta {
        BetaSetting::Fixed(_) => Ok(()),
        BetaSetting::Adaptive(_) => prior(config)?.check_beta(config.beta),
    }
}

/// r.
pub(crate) fn reward(config: &Config, tokenizer: &Tokenizer) -> Result<Box<dyn Reward>> {
    let rule = config.reward.as_ref().context("no reward: give --reward")?;
    let _busy = Busy::new("loading the reward");
    let networks = options(config, frozen(config.model.frozen_dtype), Heads::Score);
    Ok(Box::new(Rules::with(rule, tokenizer, &networks)?))
}

/// The folders of all networks that do not move: the prior's, if the objective has one, and the reward's.
pub(crate) fn frozen_folders(config: &Config) -> Result<Vec<PathBuf>> {
    let mut folders = match config.objective {
        ObjectiveName::Sft => Vec::new(),
        _ => prior(config)?.folders,
    };
    let rewards = config.reward.iter().flat_map(|rule| rule.models());
    folders.extend(rewards.map(Path::to_path_buf));
    Ok(folders)
}

/// Whether the reward can be made for the policy's tokens; of its models, only headers are read.
pub(crate) fn check_reward(config: &Config, vocabulary: &Vocabulary) -> Result<()> {
    let rule = config.reward.as_ref().context("no reward: give --reward")?;
    for folder in rule.models() {
        ensure!(
            inspect(folder)?.reward_model,
            "{} is a language model, not a reward model: train one from it first (rlhf train \
             --objective reward)",
            folder.display()
        );
    }
    rule.check_models(&vocabulary.tokenizer)?;
    Rules::new(&rule.without_models(), &vocabulary.tokenizer)?.check(vocabulary.size)?;
    Ok(())
}

/// What is to be said of how the reward's models read the policy, from their headers.
pub(crate) fn rereading(config: &Config, tokenizer: &Tokenizer) -> Result<Option<String>> {
    let mut folders = Vec::new();
    for folder in config.reward.iter().flat_map(|rule| rule.models()) {
        if Learned::rereads(folder, tokenizer)? {
            folders.push(folder.display().to_string());
        }
    }
    let words = "read texts and not the model's tokens: their tokenizer is another";
    Ok((!folders.is_empty()).then(|| format!("{} {words}", folders.join(", "))))
}
