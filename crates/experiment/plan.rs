//! What a run is going to do, from its settings, its data and the headers of its checkpoints.

use crate::config::{BackendName, Config, DtypeName};
use crate::dataset::{self, Parts, Size};
use crate::memory::{self, PerItem};
use crate::notes::note;
use crate::prepared::Prepared;
use crate::prior::{frozen_folders, prior};
use crate::reward::rereading;
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

/// What would be done with what was opened.
///
/// # Errors
/// If a header cannot be read.
pub fn plan(prepared: &Prepared) -> Result<Lines> {
    let Prepared {
        config,
        vocabulary,
        parts,
        fits,
    } = prepared;
    let mut lines = objective_summary::describe(config)?;
    lines.extend(rereading(config, &vocabulary.tokenizer)?.map(|words| ("judges", words)));
    lines.extend(fits.iter().map(|words| ("fit", words.clone())));
    lines.extend(tokens(config, vocabulary)?);
    let item = data(prepared, &mut lines)?;
    lines.extend(prior_reads(config, parts)?.map(|words| ("prior reads", words)));
    lines.push(("steps", steps::describe(config, &parts.train)?));
    lines.extend(adapter(config)?.map(|words| ("adapter", words)));
    lines.push(("products", products(config)));
    lines.extend(frozen(config)?.map(|words| ("frozen", words)));
    lines.push(("memory", memory::estimate(config, item)?));
    Ok(lines)
}

/// What is to be said of tokens: which end a response, how the files were read, which are learned.
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

/// Which tokens of a conversation are learned.
fn loss_on(config: &Config, vocabulary: &Vocabulary) -> Result<String> {
    let chat = dataset::settings(&config.data, vocabulary, Limits::context(1))?.chat;
    let marked = match &chat {
        Chat::Template(template) => template.has_generation_blocks(),
        _ => false,
    };
    Ok(match (config.data.loss_on, marked) {
        (LossOn::All, _) => {
            "completions; of documents and conversations every token (data.loss_on = \"assistant\" or \
             \"last\" for what the assistant says)"
        }
        (LossOn::Assistant, true) => {
            "what the assistant says: the chat template's {% generation %} blocks (data.loss_on)"
        }
        (LossOn::Assistant, false) => {
            "what the assistant says: each turn of its role, by the chat template, which has no \
             {% generation %} blocks (data.loss_on)"
        }
        (LossOn::Last, _) => "the assistant's last turn (data.loss_on)",
    }
    .into())
}

/// What is trained in place of the weights, if there is an adapter.
fn adapter(config: &Config) -> Result<Option<String>> {
    let adapter = memory::adapter(config)?;
    Ok(adapter.map(|adapter| {
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
    }))
}

/// What the networks compute with.
fn products(config: &Config) -> String {
    match (config.model.backend, config.model.dtype) {
        (BackendName::Plain, _) => "in f32, by the plain network".into(),
        (BackendName::Engine, DtypeName::F32) => "in f32".into(),
        (BackendName::Engine, DtypeName::Bf16) => {
            "operands rounded to bf16, sums in f32; attention and weights in f32".into()
        }
    }
}

/// What is to be said of the weights that do not move, where they are not held in f32.
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
        (true, _) => "no network: neither the prior nor the reward is one".into(),
        (false, true) => "weights held in bf16, as they are in the files".into(),
        (false, false) => format!(
            "weights held in bf16, those of {} rounded to it: KL is not exactly 0 at the start",
            rounded.join(", ")
        ),
    }))
}

/// Says lines to a person.
pub fn say(lines: &Lines) {
    for (name, line) in lines {
        note(format_args!("{name:<10} {line}"));
    }
}

/// The same as JSON.
pub fn json(lines: &Lines) -> Value {
    let fields = lines
        .iter()
        .map(|(name, line)| ((*name).to_string(), line.as_str().into()));
    Value::Object(Map::from_iter(fields))
}

/// What there is to learn from, in lines, and what a network reads for one item of it.
fn data(prepared: &Prepared, lines: &mut Lines) -> Result<PerItem> {
    let Prepared {
        config,
        vocabulary,
        parts,
        ..
    } = prepared;
    let [train, held_out] = prepared.counts();
    let (tokens, rows) = parts.train.tokens();
    let rooms = parts.train.prompt_lengths().filter(|_| config.online());
    let item = match rooms {
        Some(rooms) => {
            let prompt = tokens as f64 / train.max(1) as f64;
            let length = rooms.limits.max_response_tokens(prompt as usize) as f64;
            PerItem::sampled(prompt, length, config)
        }
        None => PerItem::of(tokens, rows, train),
    };
    let [of_train, of_held_out] = parts.sizes.map(|size| repeated(config, size));
    lines.push((
        "data",
        format!(
            "{} to train on{of_train}, {held_out} held out{of_held_out}",
            counted(train, prepared.items())
        ),
    ));
    let responses = rooms.map(|rooms| responses(&rooms, parts.train.sampled()));
    lines.extend(responses.map(|words| ("responses", words)));
    // Which network reads the least is of interest where something is shorter for it.
    let binds = rooms.is_none_or(|rooms| rooms.short_of_room > 0);
    let least = lengths::least_of(config, vocabulary)?.filter(|_| binds);
    lines.extend(least.map(|words| ("context", words)));
    Ok(item)
}

/// The greatest response length in force.
fn responses(rooms: &PromptLengths, sampled: Option<(usize, usize)>) -> String {
    let of = match sampled {
        Some((1, _)) => ", as 1 prompt that was looked at shows".into(),
        Some((seen, _)) => format!(", as {seen} prompts that were looked at show"),
        None => String::new(),
    };
    format!("{}{of}", rooms.sentence())
}

fn prior_reads(config: &Config, parts: &Parts<StreamingDataset>) -> Result<Option<String>> {
    let facts = config.method.facts();
    let times = match facts.learns_from {
        _ if facts.prior != PriorUse::Penalty => return Ok(None),
        LearnsFrom::Samples | LearnsFrom::Demonstrations => return Ok(None),
        LearnsFrom::Pairs => 1,
        // The prior reads the answers of other rows too, which are as many and about as long.
        LearnsFrom::UnpairedPreferences => 2,
    };
    if prior(config)?.folders.is_empty() {
        return Ok(None);
    }
    let both = [&parts.train, &parts.held_out];
    let tokens: u64 = both.iter().map(|part| times * part.tokens().0).sum();
    let responses: u64 = both
        .iter()
        .map(|part| times * part.responses() as u64)
        .sum();
    Ok(Some(format!(
        "{tokens} tokens of {} before the first step; what it says is kept in the run folder",
        counted(responses as usize, "responses")
    )))
}

/// How many distinct prompts there are, where rows repeat them. A document has no prompt.
fn repeated(config: &Config, Size { rows, prompts }: Size) -> String {
    let what = match config.online() {
        true => "distinct",
        false if prompts == 1 => "distinct prompt",
        false => "distinct prompts",
    };
    match prompts < rows {
        true => format!(" ({prompts} {what})"),
        false => String::new(),
    }
}
