//! Opens the data sets that `[data]` names, and splits off held-out rows.

use crate::config::{Config, DataSection};
use crate::lengths::limits;
use crate::method::Methods;
use crate::needs;
use crate::notes::{Remarks, note};
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

/// The most held-out items that an offline run is evaluated on at its end.
const MAX_HELD_OUT: usize = 20_000;

/// Items per read when the whole data set is loaded.
const ITEMS_PER_READ: usize = 1024;

/// The training data and the held-out data.
pub struct Splits<T> {
    /// The training data.
    pub train: T,
    /// The held-out data, which no optimizer step uses.
    pub held_out: T,
    /// The numbers of rows and distinct prompts, of train and held-out.
    pub sizes: [Size; 2],
    /// Notes about rows: what was cut, skipped or left out.
    pub notes: Notes,
    /// Whether the training labels prefer any response.
    pub labels: LabelSignal,
}

/// Whether preference labels carry information.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelSignal {
    /// Some label prefers a response.
    Informative,
    /// Every label is one half.
    AllTied,
}

/// The number of rows and of distinct prompts.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Rows.
    pub rows: usize,
    /// Distinct prompts.
    pub prompts: usize,
}

/// How rows are encoded by the settings of `[data]`.
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

/// A reader of the rows of a run. Rows without a field that the reward needs are bad rows.
pub(crate) fn reader(config: &Config, vocabulary: &Vocabulary) -> Result<Reader> {
    let mut settings = settings(&config.data, vocabulary, limits(config, vocabulary)?)?;
    settings.requirements = needs::of_reward(config)?;
    settings.readers = needs::readers(config);
    if config.method.facts().learns_from == LearnsFrom::UnpairedPreferences {
        settings.labels.soft = SoftLabels::Refused;
    }
    Ok(Reader::new(settings))
}

/// The source of rows at `path`, read as the settings of `[data]` say.
pub fn source(
    data: &DataSection,
    path: &Path,
    split: Option<&str>,
    vocabulary: Option<&Vocabulary>,
) -> Result<Source> {
    let separator = vocabulary.and_then(Vocabulary::eos_text);
    if data.documents == Documents::Eos && separator.is_none() {
        bail!(
            "data.documents = \"eos\": no checkpoint with a special EOS token is given: separate documents \
             by blank lines (\"paragraphs\") or lines (\"lines\")"
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

/// Opens the data that the method of the settings learns from, and notes remarks about them. The training
/// file is split unless a separate held-out file or split is given. The first row determines the shape of
/// all rows.
///
/// # Errors
/// If a file cannot be read, or holds a row that cannot be used.
pub fn open_data(
    config: &Config,
    vocabulary: &Vocabulary,
    methods: &Methods,
) -> Result<Splits<StreamingDataset>> {
    open_data_with(config, vocabulary, methods, &mut |remark| note(remark))
}

/// Opens the data as [`open_data`] does, and passes remarks about them to `remarks`.
pub(crate) fn open_data_with(
    config: &Config,
    vocabulary: &Vocabulary,
    methods: &Methods,
    remarks: Remarks<'_>,
) -> Result<Splits<StreamingDataset>> {
    let fields = &config.data.fields;
    let wanted = |row: &Row| match config.method.facts().learns_from {
        LearnsFrom::Samples => ItemKind::Prompts,
        LearnsFrom::Pairs => ItemKind::Pairs,
        LearnsFrom::Demonstrations => ItemKind::Demonstrations,
        // The chosen response of a pair counts as desirable, the rejected one as undesirable.
        LearnsFrom::UnpairedPreferences => match Shape::of(row, fields) {
            Some(Shape::Preference | Shape::ImplicitPreference | Shape::Scored) => ItemKind::Pairs,
            _ => ItemKind::Unpaired,
        },
    };
    open_splits(config, vocabulary, (methods, remarks), &wanted)
}

/// Tokenizes the whole data set: all responses, and whether each is desirable.
pub(crate) fn all_unpaired_preferences(
    config: &Config,
    mut dataset: StreamingDataset,
) -> Result<(Sequences, Vec<bool>)> {
    let _busy = busy("tokenizing all responses");
    let all = dataset.all_with_labels(ITEMS_PER_READ)?;
    note_streamed_rows(config, &dataset.step_notes());
    Ok(all)
}

/// Tokenizes the whole data set of pairs, because their prior log-probs are computed before the first
/// step.
pub(crate) fn all_pairs(config: &Config, mut dataset: StreamingDataset) -> Result<Pairs> {
    let _busy = busy("tokenizing all pairs");
    let all = dataset.all(ITEMS_PER_READ)?;
    note_streamed_rows(config, &dataset.step_notes());
    Ok(Pairs::new(all)?)
}

/// The held-out items, or [`MAX_HELD_OUT`] of them drawn with the seed of `[eval]`.
pub(crate) fn held_out_items(config: &Config, dataset: &mut StreamingDataset) -> Result<Sequences> {
    let mut items: Vec<usize> = (0..dataset.count()).collect();
    if items.len() > MAX_HELD_OUT {
        note(format_args!(
            "held out: {} items, of which {MAX_HELD_OUT} are measured",
            items.len()
        ));
        Rng::new(config.eval.seed, Stream::Shuffle, 0, 0).shuffle(&mut items);
        items.truncate(MAX_HELD_OUT);
    }
    Ok(dataset.read(&items)?)
}

/// At most `eval.prompts` prompts, drawn with `eval.seed`. They are drawn at random because a file may be
/// sorted.
pub(crate) fn eval_prompts(config: &Config, all: &mut dyn Dataset) -> Result<Vec<Arc<Prompt>>> {
    let mut items: Vec<usize> = (0..all.count()).collect();
    Rng::new(config.eval.seed, Stream::Shuffle, 0, 0).shuffle(&mut items);
    items.truncate(config.eval.prompts);
    Ok(all.read(&items)?.prompts().to_vec())
}

fn open_splits(
    config: &Config,
    vocabulary: &Vocabulary,
    (methods, remarks): (&Methods, Remarks<'_>),
    wanted: &dyn Fn(&Row) -> ItemKind,
) -> Result<Splits<StreamingDataset>> {
    let data = &config.data;
    let path = data.train.as_deref().context("no data")?;
    let _busy = busy(format!("reading {}", path.display()));
    let mut reader = reader(config, vocabulary)?;
    let rows = source(data, path, data.split.as_deref(), Some(vocabulary))?;
    let opened = open(&rows, path, (data, wanted), (&mut reader, remarks))?;
    opened.remark_unused_fields(config, methods, path, remarks);
    let Opened {
        store, keys, kind, ..
    } = opened;
    let separate = data.held_out.is_some() || data.held_out_split.is_some();
    let (split, held_out) = if separate {
        (keys.split(HeldOut::NOTHING, |_| {}), None)
    } else {
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
    };
    let train_size = Size {
        rows: split.train.len(),
        prompts: split.prompts[0],
    };
    let train = StreamingDataset::new(&store, &split.train, &mut reader, kind)?;
    let labels = if reader.notes.all_labels_are_ties() {
        LabelSignal::AllTied
    } else {
        LabelSignal::Informative
    };
    // Rows that are held out of the training file share its notes.
    let train_notes = if separate {
        std::mem::take(&mut reader.notes)
    } else {
        Notes::default()
    };
    let (store, held_out, prompts) = match held_out {
        Some(held_out) => held_out,
        None => {
            let path = data.held_out.as_deref().unwrap_or(path);
            let split = data.held_out_split.as_deref();
            let source = source(data, path, split, Some(vocabulary))?;
            let opened = open(&source, path, (data, &|_| kind), (&mut reader, remarks))?;
            let split = opened.keys.split(HeldOut::NOTHING, |_| {});
            (opened.store, split.train, split.prompts[0])
        }
    };
    if held_out.is_empty() && !separate && data.held_out_fraction > 0.0 {
        remarks(format!(
            "{}: {}",
            path.display(),
            why_nothing_held_out(data, train_size.prompts)
        ));
    }
    let held_out_size = Size {
        rows: held_out.len(),
        prompts,
    };
    let held_out = StreamingDataset::new(&store, &held_out, &mut reader, kind)?;
    if let Some((seen, all)) = train.sampled() {
        remarks(format!(
            "{}: {seen} of {all} training rows were checked before the first step; the others are read \
             and checked when a step uses them",
            path.display()
        ));
    }
    if separate {
        let place = file_and_split(path, data.split.as_deref());
        remark_all(&place, &train_notes, remarks);
        let path = data.held_out.as_deref().unwrap_or(path);
        let place = file_and_split(path, data.held_out_split.as_deref());
        remark_all(&place, &reader.notes, remarks);
    } else {
        remark_all(&path.display().to_string(), &reader.notes, remarks);
    }
    Ok(Splits {
        train,
        held_out,
        labels,
        sizes: [train_size, held_out_size],
        notes: if separate { train_notes } else { reader.notes },
    })
}

/// A path with its split in parentheses, for notes.
fn file_and_split(path: &Path, split: Option<&str>) -> String {
    match split {
        Some(split) => format!("{} ({split})", path.display()),
        None => path.display().to_string(),
    }
}

fn remark_all(place: &str, notes: &Notes, remarks: Remarks<'_>) {
    for sentence in notes.sentences() {
        remarks(format!("{place}: {sentence}"));
    }
}

/// Why nothing was held out of a file with `prompts` distinct prompts.
fn why_nothing_held_out(data: &DataSection, prompts: usize) -> String {
    if prompts < 2 {
        return "nothing is held out, because all rows have the same prompt: name a separate file in \
                data.held_out"
            .into();
    }
    let (fraction, least) = (data.held_out_fraction, data.held_out_at_least);
    format!(
        "nothing is held out: {fraction} of {prompts} distinct prompts is fewer than \
         data.held_out_at_least = {least}, and {least} is more than a quarter of all: name a separate \
         file in data.held_out, or set data.held_out_at_least = 1"
    )
}

/// Notes what was found in rows that were first read during training.
pub(crate) fn note_streamed_rows(config: &Config, notes: &SharedNotes) {
    let notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
    let path = config.data.train.as_deref().unwrap_or(Path::new(""));
    for sentence in notes.sentences() {
        note(format_args!(
            "{}: rows read during training: {sentence}",
            path.display()
        ));
    }
}

/// All rows of a file, for commands whose input fits into memory.
pub fn rows(path: &Path) -> Result<Vec<Row>> {
    Ok(rlhf_data::rows(path, Documents::Lines)?)
}
