//! From settings to objects. Here alone the kind of prior is matched.

use crate::config::{BackendName, Config, Critic, MethodName, PriorKind, PriorSection};
use crate::output::log;
use crate::prior_plan::PriorPlan;
use anyhow::{Context, Result, ensure};
use rlhf_data::{Fields, Limits, Notes, Reader, Row, rows, split};
use rlhf_lm::{Backend, Heads, LoadOptions, Model, Restricted, Tokenizer, inspect, load};
use rlhf_objective::{Pairs, Prompt, Reward, Sequences};
use rlhf_policy::ActorCritic;
use rlhf_reward::{Learned, Rules};
use rlhf_tensor::{Rng, Storage, Stream};
use std::path::Path;
use std::sync::Arc;

/// What turns text into tokens of one checkpoint.
pub(crate) struct Vocabulary {
    pub(crate) tokenizer: Tokenizer,
    pub(crate) size: usize,
    pub(crate) eos: Option<u32>,
    pub(crate) bos: Option<u32>,
    pub(crate) context: usize,
}

/// Something to train on and something held out.
pub(crate) struct Parts<T> {
    pub(crate) train: T,
    pub(crate) held_out: T,
}

impl Vocabulary {
    /// The vocabulary of the checkpoint in `folder`, from its headers.
    pub(crate) fn load(folder: &Path) -> Result<Self> {
        let summary = inspect(folder)?;
        Ok(Self {
            tokenizer: Tokenizer::load(folder, summary.vocab)?,
            size: summary.vocab,
            eos: summary.eos,
            bos: summary.bos,
            context: summary.context,
        })
    }

    /// A reader of rows; completions end with the EOS.
    pub(crate) fn reader(&self, limits: Limits, fields: Fields) -> Reader<'_> {
        Reader {
            tokenizer: &self.tokenizer,
            vocab: self.size,
            eos: self.eos,
            bos: self.bos,
            limits,
            fields,
            notes: Notes::default(),
        }
    }
}

/// A frozen or trainable network of the settings' temperature and implementation.
pub(crate) fn network(
    folder: &Path,
    config: &Config,
    storage: Storage,
    heads: Heads,
) -> Result<Box<dyn Model>> {
    let options = LoadOptions {
        storage,
        heads,
        temperature: config.sampling.temperature,
        backend: backend(config.model.backend),
    };
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

/// The implementation of a name.
pub(crate) fn backend(name: BackendName) -> Backend {
    match name {
        BackendName::Engine => Backend::Engine,
        BackendName::Plain => Backend::Plain,
    }
}

/// `[model] path`.
pub(crate) fn model_path(config: &Config) -> Result<&Path> {
    config.model.path.as_deref().context("no model")
}

/// The network in `folder`, to train: the policy with the critic of the settings, or a reward model.
pub(crate) fn policy(folder: &Path, config: &Config) -> Result<ActorCritic> {
    let load = |folder: &Path, heads| network(folder, config, Storage::Trainable, heads);
    if config.objective.method() == MethodName::Reward {
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

/// r.
pub(crate) fn reward(config: &Config, tokenizer: &Tokenizer) -> Result<Box<dyn Reward>> {
    let rule = config.reward.as_ref().context("no reward: give --reward")?;
    Ok(Box::new(Rules::new(rule, tokenizer)?))
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

/// The prompts to draw responses to.
pub(crate) fn prompts(config: &Config, vocabulary: &Vocabulary) -> Result<Parts<Vec<Arc<Prompt>>>> {
    read(config, vocabulary, |reader, rows| reader.prompts(rows))
}

/// The preference pairs.
pub(crate) fn pairs(config: &Config, vocabulary: &Vocabulary) -> Result<Parts<Pairs>> {
    read(config, vocabulary, |reader, rows| reader.pairs(rows))
}

/// Single answers and whether each was liked. Of a pair, the chosen one was and the rejected one
/// was not.
pub(crate) fn opinions(
    config: &Config,
    vocabulary: &Vocabulary,
) -> Result<Parts<(Sequences, Vec<bool>)>> {
    let chosen = &config.data.fields.chosen;
    let ids = format!("{chosen}_ids");
    let paired = |row: &Row| row.fields.contains_key(chosen) || row.fields.contains_key(&ids);
    read(config, vocabulary, |reader, rows| {
        if !rows.iter().any(paired) {
            return reader.unpaired(rows);
        }
        let pairs = reader.pairs(rows)?;
        let liked = (0..pairs.sequences().len()).map(|response| response % 2 == 0);
        Ok((pairs.sequences().clone(), liked.collect()))
    })
}

/// The demonstrations.
pub(crate) fn demonstrations(config: &Config, vocabulary: &Vocabulary) -> Result<Parts<Sequences>> {
    read(config, vocabulary, |reader, rows| {
        reader.demonstrations(rows)
    })
}

/// The prompts that no step of a run saw, at most as many as `[eval] prompts` says.
pub(crate) fn held_out_prompts(
    config: &Config,
    vocabulary: &Vocabulary,
) -> Result<Vec<Arc<Prompt>>> {
    let held_out = match config.objective.method() {
        MethodName::Dpo | MethodName::Reward => pairs(config, vocabulary)?
            .held_out
            .sequences()
            .prompts()
            .to_vec(),
        MethodName::Kto => opinions(config, vocabulary)?.held_out.0.prompts().to_vec(),
        MethodName::Sft => demonstrations(config, vocabulary)?
            .held_out
            .prompts()
            .to_vec(),
        _ => prompts(config, vocabulary)?.held_out,
    };
    Ok(some_prompts(config, held_out))
}

/// At most as many prompts as `[eval] prompts` says: a random choice of its seed, because a file
/// may be sorted.
pub(crate) fn some_prompts(config: &Config, mut prompts: Vec<Arc<Prompt>>) -> Vec<Arc<Prompt>> {
    Rng::new(config.eval.seed, Stream::Shuffle, 0, 0).shuffle(&mut prompts);
    prompts.truncate(config.eval.prompts);
    prompts
}

/// Reads `[data]`: the train file is split, unless there is a file of its own to hold out.
fn read<T>(
    config: &Config,
    vocabulary: &Vocabulary,
    mut parse: impl FnMut(&mut Reader<'_>, &[Row]) -> rlhf_data::Result<T>,
) -> Result<Parts<T>> {
    let data = &config.data;
    let path = data.train.as_deref();
    let path = path.context("no data")?;
    let train = rows(path, data.documents)?;
    let (train, held_out) = match &data.held_out {
        Some(path) => (train, rows(path, data.documents)?),
        None => split(train, &data.fields, data.held_out_fraction, |order| {
            Rng::new(config.train.seed, Stream::Data, 0, 0).shuffle(order);
        }),
    };
    if held_out.is_empty() && data.held_out.is_none() && data.held_out_fraction > 0.0 {
        log(format_args!(
            "{}: all rows have one prompt, so nothing is held out: give data.held_out a file of its own",
            path.display()
        ));
    }
    let mut reader = vocabulary.reader(limits(config, vocabulary), data.fields.clone());
    let train = parse(&mut reader, &train)?;
    let held_out = parse(&mut reader, &held_out)?;
    for note in reader.notes.sentences() {
        log(format_args!("{}: {note}", path.display()));
    }
    Ok(Parts { train, held_out })
}

/// How much of a prompt and its response is read, at most. A language model never reads the last
/// token; a reward model does, and takes one from the room there is.
pub(crate) fn context(config: &Config, vocabulary: &Vocabulary) -> usize {
    let judged = config
        .reward
        .as_ref()
        .is_some_and(|rule| !rule.models().is_empty());
    let read_to_the_end = judged || config.objective.method() == MethodName::Reward;
    (vocabulary.context - usize::from(read_to_the_end)).max(1)
}

/// Prompts that are to be continued leave room for the longest response.
pub(crate) fn limits(config: &Config, vocabulary: &Vocabulary) -> Limits {
    let context = context(config, vocabulary);
    let room = match config.objective.method().online() {
        true => config.sampling.max_new_tokens.min(context),
        false => 1,
    };
    let longest = context + 1 - room;
    Limits {
        context,
        prompt: config
            .data
            .max_prompt_tokens
            .unwrap_or(longest)
            .min(longest),
        completion: config.data.max_completion_tokens.unwrap_or(usize::MAX),
    }
}
