//! From `[data]` to data sets.

use crate::config::{Config, DataSection};
use crate::lengths::limits;
use crate::method::Methods;
use crate::needs;
use crate::notes::note;
use crate::opened::{Opened, open};
use crate::progress::busy;
use crate::vocabulary::Vocabulary;
use anyhow::{Context, Result, bail};
use rlhf_data::{
    Chat, Documents, HeldOut, ItemKind, Labels, Limits, Notes, ReadOptions, Reader, Row, Settings,
    Shape, SharedNotes, SoftLabels, Source, StreamingDataset, Template,
};
use rlhf_objective::{Dataset, Pairs, Prompt, Sequences};
use rlhf_tensor::{Rng, Stream};
use rlhf_train::LearnsFrom;
use std::path::Path;
use std::sync::{Arc, PoisonError};

/// Held-out items that are measured at the end of an offline run, at most.
const HELD_OUT: usize = 20_000;

/// How many items are read at once when all are.
const AT_ONCE: usize = 1024;

/// Something to train on and something held out.
pub struct Parts<T> {
    /// What is trained on.
    pub train: T,
    /// What no step sees.
    pub held_out: T,
    /// Rows and distinct prompts of each.
    pub sizes: [Size; 2],
    /// What was noted of all of them.
    pub notes: Notes,
    /// Whether there is anything in the labels that are trained on.
    pub labels: Taught,
}

/// What the labels of all pairs say together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taught {
    /// Which answers are better.
    Something,
    /// That no answer is: all are one half.
    Nothing,
}

/// How many rows there are, and with how many distinct prompts.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Rows.
    pub rows: usize,
    /// Distinct prompts.
    pub prompts: usize,
}

/// How the settings read rows.
pub fn settings(data: &DataSection, vocabulary: &Vocabulary, limits: Limits) -> Result<Settings> {
    let mut settings = Settings {
        fields: data.fields.clone(),
        on_bad_row: data.on_bad_row,
        pairs_of: data.pairs,
        min_margin: data.min_margin,
        labels: Labels {
            values: data.label.clone(),
            annotators: data.annotators,
            soft: SoftLabels::Allowed,
        },
        loss_on: data.loss_on,
        ..vocabulary.settings(limits)
    };
    if let Some(path) = &data.chat_template {
        let template = Template::from_file(path, &vocabulary.folder)?;
        settings.chat = Chat::Template(Arc::new(template));
    }
    Ok(settings)
}

/// A reader of the rows of a run. Those whom the reward could not judge are bad rows.
pub(crate) fn reader(config: &Config, vocabulary: &Vocabulary) -> Result<Reader> {
    let mut settings = settings(&config.data, vocabulary, limits(config, vocabulary)?)?;
    settings.requirements = needs::of_reward(config)?;
    settings.readers = needs::readers(config);
    if config.method.facts().learns_from == LearnsFrom::UnpairedPreferences {
        settings.labels.soft = SoftLabels::Refused;
    }
    Ok(Reader::new(settings))
}

/// Where the rows of a path are, by the settings.
pub fn source(
    data: &DataSection,
    path: &Path,
    split: Option<&str>,
    vocabulary: Option<&Vocabulary>,
) -> Result<Source> {
    let separator = vocabulary.and_then(Vocabulary::eos_text);
    if data.documents == Documents::Eos && separator.is_none() {
        bail!(
            "data.documents = \"eos\": there is no checkpoint whose EOS is a special token, to part \
             documents by; part them by blank lines (\"paragraphs\") or lines (\"lines\")"
        );
    }
    let options = ReadOptions {
        format: data.format,
        columns: data.columns.clone(),
        documents: data.documents,
        separator,
    };
    Ok(Source::new(path, split, options)?)
}

/// What the method of the settings learns from: the train file is split, unless there is a file or a part
/// of its own to hold out. The first row says what is wanted of all.
///
/// # Errors
/// If a file cannot be read, or holds a row that cannot be used.
pub fn open_data(
    config: &Config,
    vocabulary: &Vocabulary,
    methods: &Methods,
) -> Result<Parts<StreamingDataset>> {
    let fields = &config.data.fields;
    match config.method.facts().learns_from {
        LearnsFrom::Samples => read(config, vocabulary, methods, &|_| ItemKind::Prompts),
        LearnsFrom::Pairs => read(config, vocabulary, methods, &|_| ItemKind::Pairs),
        LearnsFrom::Demonstrations => {
            read(config, vocabulary, methods, &|_| ItemKind::Demonstrations)
        }
        // Of a pair, the chosen answer is preferred and the rejected one is not.
        LearnsFrom::UnpairedPreferences => read(
            config,
            vocabulary,
            methods,
            &|row| match Shape::of(row, fields) {
                Some(Shape::Preference | Shape::ImplicitPreference | Shape::Scored) => {
                    ItemKind::Pairs
                }
                _ => ItemKind::Unpaired,
            },
        ),
    }
}

/// All answers at once, and whether each was liked.
pub(crate) fn all_unpaired_preferences(
    config: &Config,
    mut corpus: StreamingDataset,
) -> Result<(Sequences, Vec<bool>)> {
    let _busy = busy("tokenizing all answers");
    let all = corpus.all_with_labels(AT_ONCE)?;
    say_later(config, &corpus.step_notes());
    Ok(all)
}

/// All pairs at once: the methods whose loss compares a pair with all others hold them.
pub(crate) fn all_pairs(config: &Config, mut corpus: StreamingDataset) -> Result<Pairs> {
    let _busy = busy("tokenizing all pairs");
    let all = corpus.all(AT_ONCE)?;
    say_later(config, &corpus.step_notes());
    Ok(Pairs::new(all)?)
}

/// A random choice of held-out items of the seed of `[eval]`, as many as can be measured in a
/// reasonable time.
pub(crate) fn some_held_out(config: &Config, corpus: &mut StreamingDataset) -> Result<Sequences> {
    let mut items: Vec<usize> = (0..corpus.count()).collect();
    if items.len() > HELD_OUT {
        note(format_args!(
            "held out: {} items, of which {HELD_OUT} are measured",
            items.len()
        ));
        Rng::new(config.eval.seed, Stream::Shuffle, 0, 0).shuffle(&mut items);
        items.truncate(HELD_OUT);
    }
    Ok(corpus.read(&items)?)
}

/// At most as many prompts as `[eval] prompts` says: a random choice of its seed, because a file
/// may be sorted.
pub(crate) fn some_prompts(config: &Config, all: &mut dyn Dataset) -> Result<Vec<Arc<Prompt>>> {
    let mut items: Vec<usize> = (0..all.count()).collect();
    Rng::new(config.eval.seed, Stream::Shuffle, 0, 0).shuffle(&mut items);
    items.truncate(config.eval.prompts);
    Ok(all.read(&items)?.prompts().to_vec())
}

fn read(
    config: &Config,
    vocabulary: &Vocabulary,
    methods: &Methods,
    kind_of: &dyn Fn(&Row) -> ItemKind,
) -> Result<Parts<StreamingDataset>> {
    let data = &config.data;
    let path = data.train.as_deref().context("no data")?;
    let _busy = busy(format!("reading {}", path.display()));
    let mut reader = reader(config, vocabulary)?;
    let rows = source(data, path, data.split.as_deref(), Some(vocabulary))?;
    let opened = open(&rows, path, (data, kind_of), &mut reader)?;
    opened.say_unused(config, methods, path);
    let Opened {
        store, keys, kind, ..
    } = opened;
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
    let of_train = Size {
        rows: split.train.len(),
        prompts: split.prompts[0],
    };
    let train = StreamingDataset::new(&store, &split.train, &mut reader, kind)?;
    let labels = match reader.notes.all_labels_are_ties() {
        true => Taught::Nothing,
        false => Taught::Something,
    };
    // What is held out of the same rows is noted together with them.
    let of_rows = match own {
        true => std::mem::take(&mut reader.notes),
        false => Notes::default(),
    };
    let (store, held_out, prompts) = match held_out {
        Some(held_out) => held_out,
        None => {
            let path = data.held_out.as_deref().unwrap_or(path);
            let split = data.held_out_split.as_deref();
            let source = source(data, path, split, Some(vocabulary))?;
            let opened = open(&source, path, (data, &|_| kind), &mut reader)?;
            let split = opened.keys.split(HeldOut::NOTHING, |_| {});
            (opened.store, split.train, split.prompts[0])
        }
    };
    if held_out.is_empty() && !own && data.held_out_fraction > 0.0 {
        note(format_args!(
            "{}: {}",
            path.display(),
            nothing_held_out(data, of_train.prompts)
        ));
    }
    let of_held_out = Size {
        rows: held_out.len(),
        prompts,
    };
    let held_out = StreamingDataset::new(&store, &held_out, &mut reader, kind)?;
    if let Some((seen, all)) = train.sampled() {
        note(format_args!(
            "{}: {all} rows to train on are too many to look at before the first step; {seen} of them \
             were, the others are read when a step needs them",
            path.display()
        ));
    }
    if own {
        say(&named(path, data.split.as_deref()), &of_rows);
        let path = data.held_out.as_deref().unwrap_or(path);
        say(&named(path, data.held_out_split.as_deref()), &reader.notes);
    } else {
        say(&path.display().to_string(), &reader.notes);
    }
    Ok(Parts {
        train,
        held_out,
        labels,
        sizes: [of_train, of_held_out],
        notes: if own { of_rows } else { reader.notes },
    })
}

/// A file or folder, and which part of it.
fn named(path: &Path, split: Option<&str>) -> String {
    match split {
        Some(split) => format!("{} ({split})", path.display()),
        None => path.display().to_string(),
    }
}

fn say(place: &str, notes: &Notes) {
    for sentence in notes.sentences() {
        note(format_args!("{place}: {sentence}"));
    }
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
    for sentence in notes.sentences() {
        note(format_args!(
            "{}: of rows read by steps: {sentence}",
            path.display()
        ));
    }
}

/// The rows of a file of a few, for commands that take one.
pub fn rows(path: &Path) -> Result<Vec<Row>> {
    Ok(rlhf_data::rows(path, Documents::Lines)?)
}
