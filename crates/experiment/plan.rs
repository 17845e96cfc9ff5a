//! The plan of a run, from its settings, its data and the headers of its checkpoints.

use crate::config::{BackendName, Config, DtypeName};
use crate::dataset::{self, Size, Splits};
use crate::memory::{self, PerItem};
use crate::notes::note;
use crate::prepared::Prepared;
use crate::prior::{frozen_folders, prior};
use crate::reward::retokenizing_models;
use crate::vocabulary::Vocabulary;
use crate::words::counted;
use crate::{lengths, objective_summary, steps};
use anyhow::Result;
use rlhf_data::{Chat, Limits, LossOn, PromptLengths, StreamingDataset};
use rlhf_lm::{AdapterSummary, inspect};
use rlhf_train::{LearnsFrom, PriorUse};
use serde_json::{Map, Value};

/// Named lines, in order.
pub type Lines = Vec<(&'static str, String)>;

/// The plan of a prepared run.
///
/// # Errors
/// If a header cannot be read.
pub fn plan(prepared: &Prepared) -> Result<Lines> {
    let Prepared {
        config,
        vocabulary,
        splits,
        fits,
    } = prepared;
    let mut lines = objective_summary::describe(config)?;
    let retokenized = retokenizing_models(config, &vocabulary.tokenizer)?;
    lines.extend(retokenized.map(|words| ("judges", words)));
    lines.extend(fits.iter().map(|words| ("fit", words.clone())));
    lines.extend(tokens(config, vocabulary)?);
    let item = data(prepared, &mut lines)?;
    lines.extend(prior_reads(config, splits)?.map(|words| ("prior reads", words)));
    lines.push(("steps", steps::describe(config, &splits.train)?));
    let adapter = memory::adapter(config)?;
    lines.extend(adapter.iter().map(|one| ("adapter", adapter_words(one))));
    lines.push(("products", products(config)));
    lines.extend(frozen(config)?.map(|words| ("frozen", words)));
    lines.push(("memory", memory::estimate(config, item, adapter.as_ref())?));
    Ok(lines)
}

/// The lines about tokens: which end a response, notes about the tokenizer files, and the loss mask.
fn tokens(config: &Config, vocabulary: &Vocabulary) -> Result<Lines> {
    let mut lines = vec![("ends", vocabulary.stops.clone())];
    if !vocabulary.notes.is_empty() {
        lines.push(("tokens", vocabulary.notes.join("; ")));
    }
    if config.method.facts().learns_from == LearnsFrom::Demonstrations {
        lines.push(("loss on", loss_on(config, vocabulary)?));
    }
    Ok(lines)
}

/// Which tokens of a conversation the loss covers.
fn loss_on(config: &Config, vocabulary: &Vocabulary) -> Result<String> {
    let chat = dataset::settings(&config.data, vocabulary, Limits::context(1))?.chat;
    let marked = match &chat {
        Chat::Template(template) => template.has_generation_blocks(),
        _ => false,
    };
    Ok(match (config.data.loss_on, marked) {
        (LossOn::All, _) => {
            "completions, and every token of documents and conversations (set data.loss_on = \"assistant\" \
             or \"last\" for assistant turns only)"
        }
        (LossOn::Assistant, true) => {
            "assistant turns: the {% generation %} blocks of the chat template (data.loss_on)"
        }
        (LossOn::Assistant, false) => {
            "assistant turns, found by their role, because the chat template has no {% generation %} \
             blocks (data.loss_on)"
        }
        (LossOn::Last, _) => "the assistant's last turn (data.loss_on)",
    }
    .into())
}

/// What is trained in place of the weights.
fn adapter_words(adapter: &AdapterSummary) -> String {
    let AdapterSummary {
        base,
        rank,
        alpha,
        layers,
        parameters,
    } = adapter;
    format!(
        "LoRA of rank {rank} and alpha {alpha} on {layers} layers: {parameters} parameters are trained; the \
         weights of {} are frozen",
        base.display()
    )
}

/// The precision of matrix products.
fn products(config: &Config) -> String {
    match (config.model.backend, config.model.dtype) {
        (BackendName::Plain, _) => "in f32, by the plain network".into(),
        (BackendName::Engine, DtypeName::F32) => "in f32".into(),
        (BackendName::Engine, DtypeName::Bf16) => {
            "operands rounded to bf16, sums in f32; attention and weights in f32".into()
        }
    }
}

/// How frozen weights are stored, if not in f32.
fn frozen(config: &Config) -> Result<Option<String>> {
    if config.model.frozen_dtype == DtypeName::F32 {
        return Ok(None);
    }
    let folders = frozen_folders(config)?;
    let mut rounded = Vec::new();
    for folder in &folders {
        if inspect(folder)?.dtypes != ["BF16"] {
            rounded.push(folder.display().to_string());
        }
    }
    Ok(Some(match (folders.is_empty(), rounded.is_empty()) {
        (true, _) => "no frozen networks: neither the prior nor the reward has one".into(),
        (false, true) => "weights stored in bf16, as in the files".into(),
        (false, false) => format!(
            "weights stored in bf16, those of {} rounded to it: KL is not exactly 0 at the start",
            rounded.join(", ")
        ),
    }))
}

/// Notes the lines of a plan.
pub fn note_plan(lines: &Lines) {
    for (name, line) in lines {
        note(format_args!("{name:<10} {line}"));
    }
}

/// The lines of a plan as JSON.
pub fn plan_json(lines: &Lines) -> Value {
    let fields = lines
        .iter()
        .map(|(name, line)| ((*name).to_string(), line.as_str().into()));
    Value::Object(Map::from_iter(fields))
}

/// Adds the lines about the data; returns the mean size of an item.
fn data(prepared: &Prepared, lines: &mut Lines) -> Result<PerItem> {
    let Prepared {
        config,
        vocabulary,
        splits,
        ..
    } = prepared;
    let [train, held_out] = prepared.counts();
    let (tokens, rows) = splits.train.tokens();
    let rooms = splits.train.prompt_lengths().filter(|_| config.online());
    let item = match rooms {
        Some(rooms) => {
            let prompt = tokens as f64 / train.max(1) as f64;
            let length = rooms.limits.max_response_tokens(prompt as usize) as f64;
            PerItem::sampled(prompt, length, config)
        }
        None => PerItem::of(tokens, rows, train),
    };
    let [of_train, of_held_out] = splits.sizes.map(|size| distinct_prompts(config, size));
    lines.push((
        "data",
        format!(
            "{} to train on{of_train}, {held_out} held out{of_held_out}",
            counted(train, prepared.items())
        ),
    ));
    let responses = rooms.map(|rooms| responses(&rooms, splits.train.sampled()));
    lines.extend(responses.map(|words| ("responses", words)));
    // The network with the smallest context matters only if it shortens something.
    let binds = rooms.is_none_or(|rooms| rooms.short_of_room > 0);
    let limit = lengths::context_note(config, vocabulary)?.filter(|_| binds);
    lines.extend(limit.map(|words| ("context", words)));
    Ok(item)
}

/// The greatest response length that applies.
fn responses(rooms: &PromptLengths, sampled: Option<(usize, usize)>) -> String {
    let of = match sampled {
        Some((seen, _)) => format!(", by a sample of {}", counted(seen, "prompts")),
        None => String::new(),
    };
    format!("{}{of}", rooms.sentence())
}

/// The tokens whose prior log-probs are computed before the first step.
fn prior_reads(config: &Config, splits: &Splits<StreamingDataset>) -> Result<Option<String>> {
    let facts = config.method.facts();
    let times = match facts.learns_from {
        _ if facts.prior != PriorUse::Penalty => return Ok(None),
        LearnsFrom::Samples | LearnsFrom::Demonstrations => return Ok(None),
        LearnsFrom::Pairs => 1,
        // KTO also scores mismatched responses, which are as many and about as long.
        LearnsFrom::UnpairedPreferences => 2,
    };
    if prior(config)?.folders.is_empty() {
        return Ok(None);
    }
    let both = [&splits.train, &splits.held_out];
    let tokens: u64 = both.iter().map(|part| times * part.tokens().0).sum();
    let responses: u64 = both
        .iter()
        .map(|part| times * part.responses() as u64)
        .sum();
    Ok(Some(format!(
        "{tokens} tokens of {} before the first step; the log-probs are saved in the run folder",
        counted(responses as usize, "responses")
    )))
}

/// The number of distinct prompts in parentheses, if rows repeat prompts.
fn distinct_prompts(config: &Config, Size { rows, prompts }: Size) -> String {
    if prompts >= rows {
        String::new()
    } else if config.online() {
        format!(" ({prompts} distinct)")
    } else {
        format!(" ({})", counted(prompts, "distinct prompts"))
    }
}
