//! From `[data]` to data sets.

use crate::config::{Config, DataSection, MethodName};
use crate::output::log;
use crate::progress::Busy;
use crate::wiring::Vocabulary;
use anyhow::{Context, Result};
use rlhf_data::{
    Chat, Corpus, Documents, Fields, HeldOut, Keys, Limits, OnBadRow, Reader, Reading, Row,
    Settings, Shape, SharedNotes, SharedStore, Source, Store, Template, Wanted,
};
use rlhf_objective::{Items, Pairs, Prompt, Sequences};
use rlhf_tensor::{Rng, Stream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Held-out items that are measured at the end of an offline run, at most.
const HELD_OUT: usize = 20_000;

/// How many items are read at once when all are.
const AT_ONCE: usize = 1024;

/// Something to train on and something held out.
pub(crate) struct Parts<T> {
    pub(crate) train: T,
    pub(crate) held_out: T,
    /// Rows and distinct prompts of each.
    pub(crate) sizes: [Size; 2],
}

/// How many rows there are, and with how many distinct prompts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) rows: usize,
    pub(crate) prompts: usize,
}

impl Vocabulary {
    /// How rows become tokens of this checkpoint, with the checkpoint's own chat template.
    pub(crate) fn settings(&self, limits: Limits) -> Settings {
        let mut settings = Settings::new(self.tokens(), limits);
        if let Some(template) = &self.template {
            settings.chat = Chat::Template(template.clone());
        }
        settings
    }

    /// A reader of rows in memory; completions end with the EOS.
    pub(crate) fn reader(&self, limits: Limits, fields: Fields) -> Reader {
        Reader::new(Settings {
            fields,
            ..self.settings(limits)
        })
    }
}

/// How the settings read rows.
pub(crate) fn settings(
    data: &DataSection,
    vocabulary: &Vocabulary,
    limits: Limits,
) -> Result<Settings> {
    let mut settings = Settings {
        fields: data.fields.clone(),
        on_bad_row: data.on_bad_row,
        pairs_of: data.pairs,
        min_margin: data.min_margin,
        loss_on: data.loss_on,
        ..vocabulary.settings(limits)
    };
    if let Some(path) = &data.chat_template {
        let template = Template::from_file(path, &vocabulary.folder)?;
        settings.chat = Chat::Template(Arc::new(template));
    }
    Ok(settings)
}

/// Where the rows of a path are, by the settings.
pub(crate) fn source(data: &DataSection, path: &Path, split: Option<&str>) -> Result<Source> {
    let reading = Reading {
        format: data.format,
        columns: data.columns.clone(),
        documents: data.documents,
    };
    Ok(Source::new(path, split, reading)?)
}

/// The prompts to draw responses to.
pub(crate) fn prompts(config: &Config, vocabulary: &Vocabulary) -> Result<Parts<Corpus>> {
    read(config, vocabulary, &|_| Wanted::Prompts)
}

/// The preference pairs.
pub(crate) fn pairs(config: &Config, vocabulary: &Vocabulary) -> Result<Parts<Corpus>> {
    read(config, vocabulary, &|_| Wanted::Pairs)
}

/// Single answers and whether each was liked. Of a pair, the chosen one was and the rejected one
/// was not.
pub(crate) fn opinions(config: &Config, vocabulary: &Vocabulary) -> Result<Parts<Corpus>> {
    let fields = &config.data.fields;
    read(config, vocabulary, &|row| match Shape::of(row, fields) {
        Some(Shape::Preference | Shape::ImplicitPreference | Shape::Scored) => Wanted::Pairs,
        _ => Wanted::Unpaired,
    })
}

/// All answers at once, and whether each was liked.
pub(crate) fn all_opinions(config: &Config, mut corpus: Corpus) -> Result<(Sequences, Vec<bool>)> {
    let _busy = Busy::new("tokenizing all answers");
    let all = corpus.opinions(AT_ONCE)?;
    say_later(config, &corpus.later());
    Ok(all)
}

/// The demonstrations.
pub(crate) fn demonstrations(config: &Config, vocabulary: &Vocabulary) -> Result<Parts<Corpus>> {
    read(config, vocabulary, &|_| Wanted::Demonstrations)
}

/// All prompts at once.
pub(crate) fn all_prompts(mut corpus: Corpus) -> Result<Vec<Arc<Prompt>>> {
    let items: Vec<usize> = (0..corpus.count()).collect();
    Ok(corpus.read(&items)?.prompts().to_vec())
}

/// All pairs at once: the methods whose loss compares a pair with all others hold them.
pub(crate) fn all_pairs(config: &Config, mut corpus: Corpus) -> Result<Pairs> {
    let _busy = Busy::new("tokenizing all pairs");
    let all = corpus.all(AT_ONCE)?;
    say_later(config, &corpus.later());
    Ok(Pairs::new(all)?)
}

/// A random choice of held-out items of the seed of `[eval]`, as many as can be measured in a
/// reasonable time.
pub(crate) fn some_held_out(config: &Config, corpus: &mut Corpus) -> Result<Sequences> {
    let mut items: Vec<usize> = (0..corpus.count()).collect();
    if items.len() > HELD_OUT {
        log(format_args!(
            "held out: {} items, of which {HELD_OUT} are measured",
            items.len()
        ));
        Rng::new(config.eval.seed, Stream::Shuffle, 0, 0).shuffle(&mut items);
        items.truncate(HELD_OUT);
    }
    Ok(corpus.read(&items)?)
}

/// The prompts that no step of a run saw, at most as many as `[eval] prompts` says.
pub(crate) fn held_out_prompts(
    config: &Config,
    vocabulary: &Vocabulary,
) -> Result<Vec<Arc<Prompt>>> {
    let parts = match config.objective.method() {
        MethodName::Dpo | MethodName::Reward => pairs(config, vocabulary)?,
        MethodName::Kto => opinions(config, vocabulary)?,
        MethodName::Sft => demonstrations(config, vocabulary)?,
        _ => prompts(config, vocabulary)?,
    };
    let mut held_out = parts.held_out;
    some_prompts(config, &mut held_out)
}

/// At most as many prompts as `[eval] prompts` says: a random choice of its seed, because a file
/// may be sorted.
pub(crate) fn some_prompts(config: &Config, all: &mut dyn Items) -> Result<Vec<Arc<Prompt>>> {
    let mut items: Vec<usize> = (0..all.count()).collect();
    Rng::new(config.eval.seed, Stream::Shuffle, 0, 0).shuffle(&mut items);
    items.truncate(config.eval.prompts);
    Ok(all.read(&items)?.prompts().to_vec())
}

/// Reads `[data]`: the train file is split, unless there is a file or a part of its own to hold out.
/// The first row says what is wanted of all.
fn read(
    config: &Config,
    vocabulary: &Vocabulary,
    wanted: &dyn Fn(&Row) -> Wanted,
) -> Result<Parts<Corpus>> {
    let data = &config.data;
    let path = data.train.as_deref().context("no data")?;
    let _busy = Busy::new(format!("reading {}", path.display()));
    let settings = settings(data, vocabulary, limits(config, vocabulary))?;
    let mut reader = Reader::new(settings);
    let (store, keys, first) = open(
        &source(data, path, data.split.as_deref())?,
        data,
        &mut reader,
    )?;
    let own = data.held_out.is_some() || data.held_out_split.is_some();
    let (split, held_out) = match own {
        true => (keys.split(HeldOut::NOTHING, |_| {}), None),
        false => {
            let shuffle = |order: &mut [usize]| {
                Rng::new(config.train.seed, Stream::Data, 0, 0).shuffle(order);
            };
            let wanted = HeldOut {
                fraction: data.held_out_fraction,
                at_least: data.held_out_at_least,
            };
            let split = keys.split(wanted, shuffle);
            let (held_out, prompts) = (split.held_out.clone(), split.prompts[1]);
            (split, Some((store.clone(), held_out, prompts)))
        }
    };
    let wanted = first.as_ref().map_or(Wanted::Prompts, wanted);
    let of_train = Size {
        rows: split.train.len(),
        prompts: split.prompts[0],
    };
    let train = Corpus::new(&store, &split.train, &mut reader, wanted)?;
    let (store, held_out, prompts) = match held_out {
        Some(held_out) => held_out,
        None => {
            let path = data.held_out.as_deref().unwrap_or(path);
            let source = source(data, path, data.held_out_split.as_deref())?;
            let (store, keys, _) = open(&source, data, &mut reader)?;
            let split = keys.split(HeldOut::NOTHING, |_| {});
            (store, split.train, split.prompts[0])
        }
    };
    if held_out.is_empty() && !own && data.held_out_fraction > 0.0 {
        log(format_args!(
            "{}: {}",
            path.display(),
            nothing_held_out(data, of_train.prompts)
        ));
    }
    let of_held_out = Size {
        rows: held_out.len(),
        prompts,
    };
    let held_out = Corpus::new(&store, &held_out, &mut reader, wanted)?;
    if let Some((seen, all)) = train.sampled() {
        log(format_args!(
            "{}: {all} rows to train on are too many to look at before the first step; {seen} of them \
             were, the others are read when a step needs them",
            path.display()
        ));
    }
    for note in reader.notes.sentences() {
        log(format_args!("{}: {note}", path.display()));
    }
    Ok(Parts {
        train,
        held_out,
        sizes: [of_train, of_held_out],
    })
}

/// Why a file of so many distinct prompts was not cut.
fn nothing_held_out(data: &DataSection, prompts: usize) -> String {
    if prompts < 2 {
        return "all rows have one prompt, so nothing is held out: give data.held_out a file of its own"
            .into();
    }
    let (fraction, least) = (data.held_out_fraction, data.held_out_at_least);
    format!(
        "nothing is held out: {fraction} of {prompts} distinct prompts is fewer than {least}, from which \
         something can be said of others, and {least} are more than a quarter of all; give data.held_out \
         a file of its own, or set data.held_out_at_least = 1"
    )
}

/// Says what was noted of rows that were not looked at before the first step.
pub(crate) fn say_later(config: &Config, notes: &SharedNotes) {
    let notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
    let path = config.data.train.as_deref().unwrap_or(Path::new(""));
    for note in notes.sentences() {
        log(format_args!(
            "{}: of rows read by steps: {note}",
            path.display()
        ));
    }
}

/// The rows of a source, which of them have the same prompt, and the first.
fn open(
    source: &Source,
    data: &DataSection,
    reader: &mut Reader,
) -> Result<(SharedStore, Keys, Option<Row>)> {
    let (mut keys, mut first) = (Keys::default(), None);
    let mut bad = |error| match data.on_bad_row {
        OnBadRow::Error => Err(error),
        OnBadRow::Skip => {
            reader.skip(&error);
            Ok(())
        }
    };
    let mut visit = |row: &Row| {
        keys.push(row, &data.fields);
        if first.is_none() {
            first = Some(row.clone());
        }
    };
    let store = Store::open(source, &mut bad, &mut visit)?;
    Ok((Arc::new(Mutex::new(store)), keys, first))
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

/// The rows of a file of a few, for commands that take one.
pub(crate) fn rows(path: &Path) -> Result<Vec<Row>> {
    Ok(rlhf_data::rows(path, Documents::Lines)?)
}
