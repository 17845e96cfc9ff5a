//! What a run is going to do, from its settings, its data and the headers of its checkpoints.

use crate::config::{BackendName, Config, DtypeName, MethodName, ObjectiveName};
use crate::dataset::{self, Parts, Size};
use crate::lengths;
use crate::memory::{self, PerItem};
use crate::output::log;
use crate::prior_fit;
use crate::steps;
use crate::target;
use crate::wiring::{self, Vocabulary};
use anyhow::{Result, ensure};
use rlhf_data::{Chat, Corpus, Limits, LossOn, Notes, Rooms};
use rlhf_lm::inspect;
use serde_json::{Map, Value};

/// Named lines, in order.
pub(crate) type Lines = Vec<(&'static str, String)>;

/// Opens everything but the weights, and says what would be done with it.
pub(crate) fn plan(config: &Config) -> Result<Lines> {
    let vocabulary = Vocabulary::load(wiring::model_path(config)?)?;
    if config.objective != ObjectiveName::Sft {
        wiring::prior(config)?.check(vocabulary.size)?;
    }
    let fits = prior_fit::check(config, &vocabulary)?;
    let rereading = wiring::rereading(config, &vocabulary.tokenizer)?;
    if config.reward.is_some() {
        wiring::check_reward(config, &vocabulary)?;
    }
    let mut lines = target::describe(config)?;
    lines.extend(rereading.map(|words| ("judges", words)));
    lines.extend(fits.into_iter().map(|words| ("fit", words)));
    let Data {
        train,
        words,
        item,
        prior_reads,
    } = data(config, &vocabulary)?;
    lines.extend(tokens(config, &vocabulary)?);
    lines.extend(words);
    lines.extend(prior_reads.map(|words| ("prior reads", words)));
    lines.push(("steps", steps::describe(config, &train)?));
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
    if config.objective.method() == MethodName::Sft {
        lines.push(("loss on", loss_on(config, vocabulary)?));
    }
    Ok(lines)
}

/// Which tokens of a conversation are learned.
fn loss_on(config: &Config, vocabulary: &Vocabulary) -> Result<String> {
    let chat = dataset::settings(&config.data, vocabulary, Limits::context(1))?.chat;
    let marked = match &chat {
        Chat::Template(template) => template.marks_answers(),
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
    let folders = wiring::frozen_folders(config)?;
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

/// Prints lines for a person.
pub(crate) fn show(lines: &Lines) {
    for (name, line) in lines {
        log(format_args!("{name:<10} {line}"));
    }
}

/// The same as JSON.
pub(crate) fn json(lines: &Lines) -> Value {
    let fields = lines
        .iter()
        .map(|(name, line)| ((*name).to_string(), line.as_str().into()));
    Value::Object(Map::from_iter(fields))
}

/// What there is to learn from.
struct Data {
    train: Corpus,
    words: Lines,
    /// What a network reads for one item of it.
    item: PerItem,
    /// What a prior that is a network reads before the first step, where the method asks it then.
    prior_reads: Option<String>,
}

fn data(config: &Config, vocabulary: &Vocabulary) -> Result<Data> {
    let method = config.objective.method();
    let (what, parts) = match method {
        MethodName::Dpo | MethodName::Reward => ("pairs", wiring::pairs(config, vocabulary)?),
        MethodName::Kto => ("answers", wiring::opinions(config, vocabulary)?),
        MethodName::Sft => (
            "demonstrations",
            wiring::demonstrations(config, vocabulary)?,
        ),
        _ => ("prompts", wiring::prompts(config, vocabulary)?),
    };
    let count = |corpus| steps::items(method, corpus);
    let (train, held_out) = (count(&parts.train), count(&parts.held_out));
    ensure!(
        train > 0,
        "{} leaves no {what} to train on: {}",
        config
            .data
            .train
            .as_deref()
            .unwrap_or("data".as_ref())
            .display(),
        nothing_left(&parts.notes, held_out)
    );
    ensure!(
        method != MethodName::Kto || train > 1,
        "the data file leaves fewer than 2 answers to train on: kto compares each with another's \
         prompt"
    );
    let (tokens, rows) = parts.train.tokens();
    let rooms = parts.train.rooms().filter(|_| method.online());
    let item = match rooms {
        Some(rooms) => {
            let prompt = tokens as f64 / train.max(1) as f64;
            let length = rooms.limits.room(prompt as usize) as f64;
            PerItem::sampled(prompt, length, config)
        }
        None => PerItem::of(tokens, rows, train),
    };
    let [of_train, of_held_out] = parts.sizes.map(|size| repeated(method, size));
    let words = format!(
        "{} to train on{of_train}, {held_out} held out{of_held_out}",
        counted(train, what)
    );
    let responses = rooms.map(|rooms| ("responses", responses(&rooms, parts.train.sampled())));
    // Which network reads the least is of interest where something is shorter for it.
    let binds = rooms.is_none_or(|rooms| rooms.crowded > 0);
    let least = lengths::least_of(config, vocabulary)?.filter(|_| binds);
    let words = [("data", words)].into_iter().chain(responses);
    Ok(Data {
        words: words.chain(least.map(|words| ("context", words))).collect(),
        item,
        prior_reads: prior_reads(config, &parts)?,
        train: parts.train,
    })
}

/// Why a file leaves nothing to train on, and what can be done.
pub(crate) fn nothing_left(notes: &Notes, held_out: usize) -> String {
    // Of all notes, those of rows that give nothing.
    let left_out = Notes {
        identical_pairs: notes.identical_pairs,
        level_scores: notes.level_scores,
        undecided: notes.undecided,
        skipped_rows: notes.skipped_rows,
        first_skipped: notes.first_skipped.clone(),
        ..Notes::default()
    };
    let mut why = left_out.sentences();
    if !why.is_empty() {
        why.push("`rlhf data check` shows what is in it".into());
    }
    if held_out > 0 {
        why.push(format!(
            "{held_out} held out, which a lower data.held_out_fraction makes fewer"
        ));
    }
    if why.is_empty() {
        return "its rows give none; `rlhf data check` shows what is in it".into();
    }
    why.join("; ")
}

/// A count with its noun, given in the plural: "1 pair", "2 pairs".
pub(crate) fn counted(count: usize, plural: &str) -> String {
    let singular = plural.strip_suffix('s').unwrap_or(plural);
    format!("{count} {}", if count == 1 { singular } else { plural })
}

/// The greatest response length in force.
fn responses(rooms: &Rooms, sampled: Option<(usize, usize)>) -> String {
    let of = match sampled {
        Some((1, _)) => ", as 1 prompt that was looked at shows".into(),
        Some((seen, _)) => format!(", as {seen} prompts that were looked at show"),
        None => String::new(),
    };
    format!("{}{of}", rooms.sentence())
}

fn prior_reads(config: &Config, parts: &Parts<Corpus>) -> Result<Option<String>> {
    // KTO asks about the answers of other rows too, which are as many and about as long.
    let times = match config.objective.method() {
        MethodName::Dpo => 1,
        MethodName::Kto => 2,
        _ => return Ok(None),
    };
    if wiring::prior(config)?.folders.is_empty() {
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
fn repeated(method: MethodName, Size { rows, prompts }: Size) -> String {
    let what = match method.online() {
        true => "distinct",
        false if prompts == 1 => "distinct prompt",
        false => "distinct prompts",
    };
    match prompts < rows {
        true => format!(" ({prompts} {what})"),
        false => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular() {
        assert_eq!(counted(1, "pairs"), "1 pair");
        assert_eq!(counted(0, "prompts"), "0 prompts");
        assert_eq!(counted(2, "distinct prompts"), "2 distinct prompts");
    }

    #[test]
    fn what_leaves_nothing_is_named() {
        let notes = Notes {
            identical_pairs: 12,
            skipped_rows: 3,
            first_skipped: Some("x.jsonl:4: no prompt".into()),
            cut_prompts: 7,
            ..Notes::default()
        };
        let said = nothing_left(&notes, 0);
        assert!(
            said.starts_with("12 pairs left out: chosen and rejected are the same; 3 rows skipped")
                && said.contains("x.jsonl:4")
                && !said.contains("7"),
            "{said}"
        );
        assert!(!said.contains("held_out_fraction"), "{said}");
        assert!(said.ends_with("; `rlhf data check` shows what is in it"));
        let said = nothing_left(&Notes::default(), 4);
        assert!(said.starts_with("4 held out"), "{said}");
        assert!(said.contains("data.held_out_fraction"), "{said}");
    }
}
