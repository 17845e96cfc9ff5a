//! Rows to sequences.

mod turns;

pub use turns::LossOn;

use crate::encode::{Vocabulary, prompt_of};
use crate::item::Item;
use crate::judged::Judged;
use crate::shapes::{Piece, Said, Shape, Writer, Written, has};
use crate::unused::{Asked, Unused};
use crate::{
    Chat, Error, Fields, ItemKind, Labels, Limits, Notes, PairsOf, Result, Row, RowRequirement,
    UnusedFieldReader,
};
use rayon::prelude::*;
use rlhf_objective::{Pairs, Prompt, Response, Sequences};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What becomes of a row that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnBadRow {
    /// It is an error that names it.
    #[default]
    Error,
    /// It is left out and counted.
    Skip,
}

/// How rows become tokens.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The tokens of the checkpoint.
    pub vocabulary: Vocabulary,
    /// The greatest lengths.
    pub limits: Limits,
    /// The names of the fields.
    pub fields: Fields,
    /// How conversations become text.
    pub chat: Chat,
    /// What becomes of a row that cannot be used.
    pub on_bad_row: OnBadRow,
    /// Which pairs scored responses make.
    pub pairs_of: PairsOf,
    /// By how much more than this their scores must differ.
    pub min_margin: f64,
    /// How labels are read.
    pub labels: Labels,
    /// What else a row must have, for those who use it.
    pub requirements: Vec<Arc<dyn RowRequirement>>,
    /// Who reads fields that no text is made of.
    pub readers: UnusedFieldReader,
    /// Which tokens of a conversation are learned from.
    pub loss_on: LossOn,
}

impl Settings {
    /// Of a checkpoint, everything else at its default.
    #[must_use]
    pub fn new(vocabulary: Vocabulary, limits: Limits) -> Self {
        Self {
            vocabulary,
            limits,
            fields: Fields::default(),
            chat: Chat::Missing,
            on_bad_row: OnBadRow::Error,
            pairs_of: PairsOf::BestWorst,
            min_margin: 0.0,
            labels: Labels::default(),
            requirements: Vec::new(),
            readers: UnusedFieldReader::Nobody,
            loss_on: LossOn::All,
        }
    }
}

/// Turns rows into tokens of one checkpoint.
#[derive(Debug)]
pub struct Reader {
    settings: Arc<Settings>,
    writer: Writer,
    /// The shape of the first row, where all must have the same, and its place.
    first: Option<(Shape, String)>,
    boundary: Boundary,
    unused: Unused,
    /// What was done so far.
    pub notes: Notes,
}

/// Whether it is noted which completions have other tokens when tokenized together with their prompt.
/// It costs as much again as reading them.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Boundary {
    Checked,
    Unchecked,
}

impl Reader {
    /// A reader with these settings.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            writer: Writer {
                fields: settings.fields.clone(),
                chat: settings.chat.clone(),
            },
            settings: Arc::new(settings),
            first: None,
            boundary: Boundary::Checked,
            unused: Unused::default(),
            notes: Notes::default(),
        }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn writer(&self) -> &Writer {
        &self.writer
    }

    /// Another one of the same settings, which has read nothing, for rows whose boundaries were checked
    /// before or are not to be.
    #[must_use]
    pub(crate) fn unchecked(&self) -> Self {
        Self {
            settings: self.settings.clone(),
            writer: self.writer.clone(),
            first: self.first.clone(),
            boundary: Boundary::Unchecked,
            unused: self.unused.clone(),
            notes: Notes::default(),
        }
    }

    /// The prompts of rows, with all their fields.
    ///
    /// # Errors
    /// If a row has no prompt, or it cannot be encoded.
    pub fn prompts(&mut self, rows: &[Row]) -> Result<Vec<Arc<Prompt>>> {
        let items = self.items(rows, ItemKind::Prompts)?;
        let prompts = items.into_iter().flatten();
        Ok(prompts.map(|item| Arc::new(item.prompt)).collect())
    }

    /// The pairs of rows with a prompt, a chosen and a rejected completion, or two dialogues that
    /// share all but their last answer, or several responses with scores; leaving out those whose
    /// completions are the same tokens.
    ///
    /// # Errors
    /// If a row lacks one of them, its dialogues share no prompt, or it cannot be encoded.
    pub fn pairs(&mut self, rows: &[Row]) -> Result<Pairs> {
        Ok(Pairs::new(self.sequences(rows, ItemKind::Pairs)?)?)
    }

    /// The demonstrations of rows, documents or prompts with their completions. A document starts
    /// with the bos token as its prompt, or where there is none with its own first token, and is cut
    /// into pieces of the context; a later piece has the token before it as its prompt, so that every
    /// token is predicted once.
    ///
    /// # Errors
    /// If a row lacks them, or cannot be encoded.
    pub fn demonstrations(&mut self, rows: &[Row]) -> Result<Sequences> {
        self.sequences(rows, ItemKind::Demonstrations)
    }

    /// The prompt and the completion of each row, in order.
    ///
    /// # Errors
    /// If a row lacks one of them, or cannot be encoded.
    pub fn completions(&mut self, rows: &[Row]) -> Result<Sequences> {
        self.sequences(rows, ItemKind::Completions)
    }

    /// The prompt and the completion of each row, in order, and whether each is desirable.
    ///
    /// # Errors
    /// If a row lacks one of the three, or cannot be encoded.
    pub fn unpaired(&mut self, rows: &[Row]) -> Result<(Sequences, Vec<bool>)> {
        let items = self.items(rows, ItemKind::Unpaired)?.into_iter().flatten();
        liked(items.collect())
    }

    fn sequences(&mut self, rows: &[Row], kind: ItemKind) -> Result<Sequences> {
        together(self.items(rows, kind)?.into_iter().flatten())
    }

    /// The items of each row: none where it is left out. On all threads, and the same on any number.
    pub(crate) fn items(&mut self, rows: &[Row], kind: ItemKind) -> Result<Vec<Vec<Item>>> {
        if let (None, Some(row)) = (&self.first, rows.first())
            && matches!(kind, ItemKind::Pairs | ItemKind::Demonstrations)
            && let Some(shape) = Shape::of(row, &self.writer.fields)
        {
            self.first = Some((shape, crate::error::place(&row.path, row.line)));
        }
        let asked = Asked {
            fields: &self.writer.fields,
            kind,
            requirements: &self.settings.requirements,
        };
        for row in rows {
            self.unused.visit(row, &asked);
        }
        self.unused.tell(&mut self.notes);
        self.notes.readers = self.settings.readers;
        let read = |row: &Row| {
            let mut notes = Notes::default();
            let items = self.read(row, kind, &mut notes);
            (items, notes)
        };
        let read: Vec<_> = rows.par_iter().with_min_len(8).map(read).collect();
        let mut all = Vec::with_capacity(rows.len());
        for (items, notes) in read {
            match items {
                Ok(items) => {
                    self.notes.absorb(notes);
                    all.push(items);
                }
                Err(error) if error.is_row_error() && self.skips() => {
                    self.skip(&error);
                    all.push(Vec::new());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// Whether a row that cannot be used is left out.
    pub(crate) fn skips(&self) -> bool {
        self.settings.on_bad_row == OnBadRow::Skip
    }

    /// Counts a row that is left out.
    pub fn skip(&mut self, error: &Error) {
        self.notes.skipped_rows += 1;
        self.notes
            .first_skipped
            .get_or_insert_with(|| error.to_string());
    }

    fn read(&self, row: &Row, kind: ItemKind, notes: &mut Notes) -> Result<Vec<Item>> {
        let shape = Shape::of(row, &self.writer.fields);
        if let (Some((first, place)), Some(shape)) = (&self.first, shape)
            && shape != *first
        {
            return Err(mixed(row, shape, *first, place));
        }
        for need in &self.settings.requirements {
            need.check(&row.fields).map_err(|what| row.error(what))?;
        }
        match (kind, shape) {
            (ItemKind::Prompts, _) => {
                let written = self.writer.prompt(row)?;
                self.refuse_apart(row, &written)?;
                self.prompt(row, &written, notes).map(|item| vec![item])
            }
            (ItemKind::Pairs, Some(shape @ (Shape::ImplicitPreference | Shape::Scored))) => {
                let written = self.writer.write(row, shape)?;
                self.pairs_of(row, &written, notes)
            }
            (ItemKind::Pairs, _) => {
                let written = self.writer.pair(row)?;
                self.pairs_of(row, &written, notes)
            }
            (ItemKind::Demonstrations, _) if self.settings.loss_on != LossOn::All => {
                self.answers(row, shape, notes)
            }
            (ItemKind::Demonstrations, Some(Shape::Text)) => {
                let written = self.writer.text(row)?;
                self.document(row, &written.answers[0])
            }
            (ItemKind::Unpaired, _) => match self.judged().liked(row)? {
                Some(liked) => {
                    let mut items = self.example(row, notes)?;
                    for item in &mut items {
                        item.liked = Some(liked);
                    }
                    Ok(items)
                }
                None => {
                    notes.undecided += 1;
                    Ok(Vec::new())
                }
            },
            (ItemKind::Demonstrations | ItemKind::Completions, _) => self.example(row, notes),
        }
    }

    /// What rows say of their answers.
    fn judged(&self) -> Judged<'_> {
        let Settings { labels, fields, .. } = &*self.settings;
        Judged { labels, fields }
    }

    fn prompt(&self, row: &Row, written: &Written, notes: &mut Notes) -> Result<Item> {
        let Settings {
            vocabulary, limits, ..
        } = &*self.settings;
        let piece = written
            .prompt
            .as_ref()
            .ok_or_else(|| row.error("no prompt"))?;
        let name = &self.writer.fields.prompt;
        let mut prompt = prompt_of(row, vocabulary.prompt(row, name, piece, notes)?);
        let keep = limits.kept_prompt_tokens(prompt.ids.len());
        vocabulary.cut_prompt(&mut prompt, keep, notes);
        Ok(Item {
            prompt,
            responses: Vec::new(),
            liked: None,
        })
    }

    /// What the assistant says in a demonstration.
    fn answers(&self, row: &Row, shape: Option<Shape>, notes: &mut Notes) -> Result<Vec<Item>> {
        let fields = &self.writer.fields;
        if shape == Some(Shape::Text) {
            let said = match has(row, &fields.text) {
                true => None,
                false => Said::of(row, &fields.messages)?,
            };
            return match said {
                Some(Said::Chat(messages)) => self.turns(row, (&messages, 0), notes),
                _ => Err(row.error(
                    "no conversation in which somebody speaks: data.loss_on must be \"all\" for texts",
                )),
            };
        }
        let completion = Said::of(row, &fields.completion)?;
        match (Said::of(row, &fields.prompt)?, completion) {
            (Some(Said::Chat(prompt)), Some(Said::Chat(answer))) if answer.len() > 1 => {
                let whole = [prompt.clone(), answer].concat();
                self.turns(row, (&whole, prompt.len()), notes)
            }
            _ => self.example(row, notes),
        }
    }

    fn example(&self, row: &Row, notes: &mut Notes) -> Result<Vec<Item>> {
        let written = self.writer.completion(row)?;
        let answers = [(self.writer.fields.completion.as_str(), 0)];
        self.note_boundary(row, &written, notes)?;
        Ok(vec![self.item(row, &written, &answers, notes)?])
    }

    fn pairs_of(&self, row: &Row, written: &Written, notes: &mut Notes) -> Result<Vec<Item>> {
        self.refuse_apart(row, written)?;
        let Settings {
            pairs_of,
            min_margin,
            fields,
            ..
        } = &*self.settings;
        let Some(judgement) = self.judged().of_pair(row, written, notes)? else {
            return Ok(Vec::new());
        };
        let (pairs, names) = match written.scores.is_empty() {
            true => (vec![(0, 1)], [&fields.chosen, &fields.rejected]),
            false => {
                let chosen = pairs_of.choose(&written.scores, *min_margin);
                notes.level_scores += usize::from(chosen.is_empty());
                (chosen, [&fields.responses, &fields.responses])
            }
        };
        let mut items = Vec::with_capacity(pairs.len());
        for (better, worse) in pairs {
            let mut of_pair = Notes::default();
            let answers = [(names[0].as_str(), better), (names[1].as_str(), worse)];
            let mut item = self.item(row, written, &answers, &mut of_pair)?;
            judgement.apply(&mut item);
            if item.responses[0].ids == item.responses[1].ids {
                notes.identical_pairs += 1;
                continue;
            }
            notes.absorb(of_pair);
            items.push(item);
        }
        if !items.is_empty() {
            self.note_boundary(row, written, notes)?;
        }
        Ok(items)
    }

    pub(crate) fn note_boundary(
        &self,
        row: &Row,
        written: &Written,
        notes: &mut Notes,
    ) -> Result<()> {
        match self.boundary {
            Boundary::Checked => self.settings.vocabulary.note_boundary(row, written, notes),
            Boundary::Unchecked => Ok(()),
        }
    }

    fn refuse_apart(&self, row: &Row, written: &Written) -> Result<()> {
        match written.apart {
            false => Ok(()),
            true => Err(row.error(
                "chosen and rejected share no prompt: they differ before their last answer; leave the \
                 row out, or set data.on_bad_row = \"skip\"",
            )),
        }
    }

    /// The prompt and these answers to it (field, index), cut to fit together.
    pub(crate) fn item(
        &self,
        row: &Row,
        written: &Written,
        answers: &[(&str, usize)],
        notes: &mut Notes,
    ) -> Result<Item> {
        let Settings {
            vocabulary, limits, ..
        } = &*self.settings;
        let encode = |(name, index): &(&str, usize), notes: &mut Notes| {
            vocabulary.completion(row, name, &written.answers[*index], notes)
        };
        let answers = answers.iter().map(|answer| encode(answer, notes));
        let answers = answers.collect::<Result<Vec<_>>>()?;
        let piece = written
            .prompt
            .as_ref()
            .ok_or_else(|| row.error("no prompt"))?;
        let name = &self.writer.fields.prompt;
        let mut prompt = prompt_of(row, vocabulary.prompt(row, name, piece, notes)?);
        notes.rewritten_prompts += usize::from(written.rewritten);
        let longest = answers
            .iter()
            .map(|answer| answer.ids.len())
            .max()
            .unwrap_or(0);
        let (keep, most) = limits.fit(prompt.ids.len(), longest);
        vocabulary.cut_prompt(&mut prompt, keep, notes);
        let responses = answers.into_iter();
        let responses = responses.map(|answer| vocabulary.response(answer, most, notes));
        Ok(Item {
            responses: responses.collect(),
            prompt,
            liked: None,
        })
    }

    fn document(&self, row: &Row, piece: &Piece) -> Result<Vec<Item>> {
        let Settings {
            vocabulary, limits, ..
        } = &*self.settings;
        let ids = vocabulary.document(row, &self.writer.fields.text, piece)?;
        let item = |(first, ids): (u32, &[u32])| Item {
            prompt: Prompt::from_ids(vec![first]),
            responses: vec![Response::new(0, ids.to_vec(), vocabulary.finish(ids))],
            liked: None,
        };
        Ok(limits.pieces(&ids).map(item).collect())
    }
}

/// That a row is not of the shape of the first.
pub(crate) fn mixed(row: &Row, shape: Shape, first: Shape, place: &str) -> Error {
    let (this, first) = (shape.words(), first.words());
    row.error(format!(
        "holds {this}, and {place} {first}: a data set has one shape"
    ))
}

/// Answers that are judged one by one, or as pairs, and whether each was liked: the chosen one of a pair
/// was, the rejected one was not.
pub(crate) fn liked(items: Vec<Item>) -> Result<(Sequences, Vec<bool>)> {
    let mut all = Vec::with_capacity(items.len());
    for item in &items {
        match item.liked {
            Some(liked) => all.push(liked),
            None => all.extend((0..item.responses.len()).map(|index| index == 0)),
        }
    }
    Ok((together(items.into_iter())?, all))
}

/// Items as sequences, each with a prompt of its own.
pub(crate) fn together(items: impl Iterator<Item = Item>) -> Result<Sequences> {
    let (mut prompts, mut responses) = (Vec::new(), Vec::new());
    for item in items {
        for mut response in item.responses {
            response.prompt = prompts.len();
            responses.push(Arc::new(response));
        }
        prompts.push(Arc::new(item.prompt));
    }
    Ok(Sequences::from_shared(prompts, responses)?)
}
