//! Converts rows to sequences.

mod turns;

pub use turns::LossOn;

use crate::encode::{Vocabulary, prompt_of};
use crate::item::Item;
use crate::row_labels::LabelReader;
use crate::shapes::{FieldValue, ParsedRow, RowParser, Segment, Shape, has};
use crate::unused::{RowUse, UnusedFields};
use crate::{
    Chat, Error, Fields, ItemKind, Labels, Limits, Notes, PairsOf, Result, Row, RowRequirement,
    UnusedFieldReader,
};
use rayon::prelude::*;
use rlhf_objective::{Pairs, Prompt, Response, Sequences};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What happens to a row that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnBadRow {
    /// Reading stops with an error that names the row.
    #[default]
    Error,
    /// The row is skipped and counted.
    Skip,
}

/// How rows become tokens.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The tokenizer and special tokens of the checkpoint.
    pub vocabulary: Vocabulary,
    /// The maximum lengths.
    pub limits: Limits,
    /// The names of the fields.
    pub fields: Fields,
    /// How conversations become text.
    pub chat: Chat,
    /// What happens to a row that cannot be used.
    pub on_bad_row: OnBadRow,
    /// Which pairs are made from scored responses.
    pub pairs_of: PairsOf,
    /// The scores of a pair must differ by more than this.
    pub min_margin: f64,
    /// How labels are read.
    pub labels: Labels,
    /// Further requirements on each row, such as a field that the reward reads.
    pub requirements: Vec<Arc<dyn RowRequirement>>,
    /// What reads the fields that are not part of any text.
    pub readers: UnusedFieldReader,
    /// Which tokens of a conversation are trained on.
    pub loss_on: LossOn,
}

impl Settings {
    /// The settings for a checkpoint, with defaults for everything else.
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

/// Converts rows to the tokens of one checkpoint.
#[derive(Debug)]
pub struct Reader {
    settings: Arc<Settings>,
    parser: RowParser,
    /// The shape and place of the first row, if all rows must have the same shape.
    first: Option<(Shape, String)>,
    boundary: Boundary,
    unused: UnusedFields,
    /// Counts of what was changed or skipped so far.
    pub notes: Notes,
}

/// Whether to count completions that tokenize differently together with their prompt. The check
/// takes as long as reading them.
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
            parser: RowParser {
                fields: settings.fields.clone(),
                chat: settings.chat.clone(),
            },
            settings: Arc::new(settings),
            first: None,
            boundary: Boundary::Checked,
            unused: UnusedFields::default(),
            notes: Notes::default(),
        }
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(crate) fn parser(&self) -> &RowParser {
        &self.parser
    }

    /// A fresh reader with the same settings that does not check token boundaries.
    #[must_use]
    pub(crate) fn unchecked(&self) -> Self {
        Self {
            settings: self.settings.clone(),
            parser: self.parser.clone(),
            first: self.first.clone(),
            boundary: Boundary::Unchecked,
            unused: self.unused.clone(),
            notes: Notes::default(),
        }
    }

    /// The prompts of rows, with all their fields.
    ///
    /// # Errors
    /// If a row has no prompt, or the prompt cannot be encoded.
    pub fn prompts(&mut self, rows: &[Row]) -> Result<Vec<Arc<Prompt>>> {
        let items = self.items(rows, ItemKind::Prompts)?;
        let prompts = items.into_iter().flatten();
        Ok(prompts.map(|item| Arc::new(item.prompt)).collect())
    }

    /// The preference pairs of rows: a prompt with a chosen and a rejected completion, two
    /// dialogues that share everything but their last answer, or several responses with scores.
    /// Pairs whose completions have the same tokens are left out.
    ///
    /// # Errors
    /// If a row lacks one of these fields, its dialogues share no prompt, or it cannot be encoded.
    pub fn pairs(&mut self, rows: &[Row]) -> Result<Pairs> {
        Ok(Pairs::new(self.sequences(rows, ItemKind::Pairs)?)?)
    }

    /// The demonstrations of rows: documents, or prompts with their completions. The prompt of a
    /// document is the BOS token, or its own first token if there is no BOS. A document is split
    /// into chunks of the context length; the prompt of a later chunk is the token before it, so
    /// that every token is predicted once.
    ///
    /// # Errors
    /// If a row has neither, or cannot be encoded.
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

    /// The prompt and the completion of each row, in order, and whether each completion is
    /// desirable.
    ///
    /// # Errors
    /// If a row lacks one of the three, or cannot be encoded.
    pub fn unpaired(&mut self, rows: &[Row]) -> Result<(Sequences, Vec<bool>)> {
        let items = self.items(rows, ItemKind::Unpaired)?.into_iter().flatten();
        with_labels(items.collect())
    }

    fn sequences(&mut self, rows: &[Row], kind: ItemKind) -> Result<Sequences> {
        to_sequences(self.items(rows, kind)?.into_iter().flatten())
    }

    /// The items of each row; empty for a row that is left out. Runs on all threads; the result
    /// does not depend on their number.
    pub(crate) fn items(&mut self, rows: &[Row], kind: ItemKind) -> Result<Vec<Vec<Item>>> {
        if let (None, Some(row)) = (&self.first, rows.first())
            && matches!(kind, ItemKind::Pairs | ItemKind::Demonstrations)
            && let Some(shape) = Shape::of(row, &self.parser.fields)
        {
            self.first = Some((shape, crate::error::place(&row.path, row.line)));
        }
        let row_use = RowUse {
            fields: &self.parser.fields,
            kind,
            requirements: &self.settings.requirements,
        };
        for row in rows {
            self.unused.visit(row, &row_use);
        }
        self.unused.report(&mut self.notes);
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

    /// Whether rows that cannot be used are skipped.
    pub(crate) fn skips(&self) -> bool {
        self.settings.on_bad_row == OnBadRow::Skip
    }

    /// Counts a skipped row.
    pub fn skip(&mut self, error: &Error) {
        self.notes.skipped_rows += 1;
        self.notes
            .first_skipped
            .get_or_insert_with(|| error.to_string());
    }

    fn read(&self, row: &Row, kind: ItemKind, notes: &mut Notes) -> Result<Vec<Item>> {
        let shape = Shape::of(row, &self.parser.fields);
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
                let parsed = self.parser.prompt(row)?;
                self.check_shared_prompt(row, &parsed)?;
                self.prompt(row, &parsed, notes).map(|item| vec![item])
            }
            (ItemKind::Pairs, Some(shape @ (Shape::ImplicitPreference | Shape::Scored))) => {
                let parsed = self.parser.parse(row, shape)?;
                self.pairs_of(row, &parsed, notes)
            }
            (ItemKind::Pairs, _) => {
                let parsed = self.parser.pair(row)?;
                self.pairs_of(row, &parsed, notes)
            }
            (ItemKind::Demonstrations, _) if self.settings.loss_on != LossOn::All => {
                self.answers(row, shape, notes)
            }
            (ItemKind::Demonstrations, Some(Shape::Text)) => {
                let parsed = self.parser.text(row)?;
                self.document(row, &parsed.answers[0])
            }
            (ItemKind::Unpaired, _) => match self.label_reader().read_desirable(row)? {
                Some(desirable) => {
                    let mut items = self.example(row, notes)?;
                    for item in &mut items {
                        item.desirable = Some(desirable);
                    }
                    Ok(items)
                }
                None => {
                    notes.neutral_labels += 1;
                    Ok(Vec::new())
                }
            },
            (ItemKind::Demonstrations | ItemKind::Completions, _) => self.example(row, notes),
        }
    }

    /// Reads the labels of rows.
    fn label_reader(&self) -> LabelReader<'_> {
        let Settings { labels, fields, .. } = &*self.settings;
        LabelReader { labels, fields }
    }

    fn prompt(&self, row: &Row, parsed: &ParsedRow, notes: &mut Notes) -> Result<Item> {
        let Settings {
            vocabulary, limits, ..
        } = &*self.settings;
        let segment = parsed
            .prompt
            .as_ref()
            .ok_or_else(|| row.error("no prompt"))?;
        let name = &self.parser.fields.prompt;
        let mut prompt = prompt_of(row, vocabulary.prompt(row, name, segment, notes)?);
        let keep = limits.kept_prompt_tokens(prompt.ids.len());
        vocabulary.truncate_prompt(&mut prompt, keep, notes);
        Ok(Item {
            prompt,
            responses: Vec::new(),
            desirable: None,
        })
    }

    /// The assistant's turns of a demonstration.
    fn answers(&self, row: &Row, shape: Option<Shape>, notes: &mut Notes) -> Result<Vec<Item>> {
        let fields = &self.parser.fields;
        if shape == Some(Shape::Text) {
            let said = if has(row, &fields.text) {
                None
            } else {
                FieldValue::of(row, &fields.messages)?
            };
            return match said {
                Some(FieldValue::Chat(messages)) => self.turns(row, (&messages, 0), notes),
                _ => Err(row.error(
                    "no conversation in this row: data.loss_on must be \"all\" for plain text",
                )),
            };
        }
        let completion = FieldValue::of(row, &fields.completion)?;
        match (FieldValue::of(row, &fields.prompt)?, completion) {
            (Some(FieldValue::Chat(prompt)), Some(FieldValue::Chat(answer)))
                if answer.len() > 1 =>
            {
                let whole = [prompt.clone(), answer].concat();
                self.turns(row, (&whole, prompt.len()), notes)
            }
            _ => self.example(row, notes),
        }
    }

    fn example(&self, row: &Row, notes: &mut Notes) -> Result<Vec<Item>> {
        let parsed = self.parser.completion(row)?;
        let answers = [(self.parser.fields.completion.as_str(), 0)];
        self.note_boundary(row, &parsed, notes)?;
        Ok(vec![self.item(row, &parsed, &answers, notes)?])
    }

    fn pairs_of(&self, row: &Row, parsed: &ParsedRow, notes: &mut Notes) -> Result<Vec<Item>> {
        self.check_shared_prompt(row, parsed)?;
        let Settings {
            pairs_of,
            min_margin,
            fields,
            ..
        } = &*self.settings;
        let Some(label) = self.label_reader().read_pair(row, parsed, notes)? else {
            return Ok(Vec::new());
        };
        let (pairs, names) = if parsed.scores.is_empty() {
            (vec![(0, 1)], [&fields.chosen, &fields.rejected])
        } else {
            let chosen = pairs_of.choose(&parsed.scores, *min_margin);
            notes.tied_scores += usize::from(chosen.is_empty());
            (chosen, [&fields.responses, &fields.responses])
        };
        let mut items = Vec::with_capacity(pairs.len());
        for (better, worse) in pairs {
            let mut of_pair = Notes::default();
            let answers = [(names[0].as_str(), better), (names[1].as_str(), worse)];
            let mut item = self.item(row, parsed, &answers, &mut of_pair)?;
            label.apply(&mut item);
            if item.responses[0].ids == item.responses[1].ids {
                notes.identical_pairs += 1;
                continue;
            }
            notes.absorb(of_pair);
            items.push(item);
        }
        if !items.is_empty() {
            self.note_boundary(row, parsed, notes)?;
        }
        Ok(items)
    }

    pub(crate) fn note_boundary(
        &self,
        row: &Row,
        parsed: &ParsedRow,
        notes: &mut Notes,
    ) -> Result<()> {
        match self.boundary {
            Boundary::Checked => self.settings.vocabulary.note_boundary(row, parsed, notes),
            Boundary::Unchecked => Ok(()),
        }
    }

    fn check_shared_prompt(&self, row: &Row, parsed: &ParsedRow) -> Result<()> {
        if parsed.prompts_differ {
            Err(row.error(
                "chosen and rejected do not share a prompt: they differ before their last answer. \
                 Remove the row, or set data.on_bad_row = \"skip\"",
            ))
        } else {
            Ok(())
        }
    }

    /// The prompt and these answers to it (field, index), truncated to fit together.
    pub(crate) fn item(
        &self,
        row: &Row,
        parsed: &ParsedRow,
        answers: &[(&str, usize)],
        notes: &mut Notes,
    ) -> Result<Item> {
        let Settings {
            vocabulary, limits, ..
        } = &*self.settings;
        let encode = |(name, index): &(&str, usize), notes: &mut Notes| {
            vocabulary.completion(row, name, &parsed.answers[*index], notes)
        };
        let answers = answers.iter().map(|answer| encode(answer, notes));
        let answers = answers.collect::<Result<Vec<_>>>()?;
        let segment = parsed
            .prompt
            .as_ref()
            .ok_or_else(|| row.error("no prompt"))?;
        let name = &self.parser.fields.prompt;
        let mut prompt = prompt_of(row, vocabulary.prompt(row, name, segment, notes)?);
        notes.rewritten_prompts += usize::from(parsed.prompt_rewritten);
        let longest = answers
            .iter()
            .map(|answer| answer.ids.len())
            .max()
            .unwrap_or(0);
        let (keep, most) = limits.fit(prompt.ids.len(), longest);
        vocabulary.truncate_prompt(&mut prompt, keep, notes);
        let responses = answers.into_iter();
        let responses = responses.map(|answer| vocabulary.response(answer, most, notes));
        Ok(Item {
            responses: responses.collect(),
            prompt,
            desirable: None,
        })
    }

    fn document(&self, row: &Row, segment: &Segment) -> Result<Vec<Item>> {
        let Settings {
            vocabulary, limits, ..
        } = &*self.settings;
        let ids = vocabulary.document(row, &self.parser.fields.text, segment)?;
        let item = |(first, ids): (u32, &[u32])| Item {
            prompt: Prompt::from_ids(vec![first]),
            responses: vec![Response::new(0, ids.to_vec(), vocabulary.finish(ids))],
            desirable: None,
        };
        Ok(limits.chunks(&ids).map(item).collect())
    }
}

/// The error of a row whose shape differs from the first row's.
pub(crate) fn mixed(row: &Row, shape: Shape, first: Shape, place: &str) -> Error {
    let (this, first) = (shape.words(), first.words());
    row.error(format!(
        "holds {this}, but {place} holds {first}: all rows of a data set must have the same shape"
    ))
}

/// All responses, and whether each is desirable: by the label of an unpaired completion; in a pair,
/// the chosen one is and the rejected one is not.
pub(crate) fn with_labels(items: Vec<Item>) -> Result<(Sequences, Vec<bool>)> {
    let mut all = Vec::with_capacity(items.len());
    for item in &items {
        match item.desirable {
            Some(desirable) => all.push(desirable),
            None => all.extend((0..item.responses.len()).map(|index| index == 0)),
        }
    }
    Ok((to_sequences(items.into_iter())?, all))
}

/// Items as sequences, one prompt each.
pub(crate) fn to_sequences(items: impl Iterator<Item = Item>) -> Result<Sequences> {
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
