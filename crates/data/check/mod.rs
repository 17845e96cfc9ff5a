//! A look at a data set before anything is trained on it.

mod guess;
mod report;
mod sample;

pub use report::Report;

use crate::encode::Vocabulary;
use crate::formats::{Documents, Facts, Format, Located, Opened};
use crate::judged::Judged;
use crate::reader::mixed;
use crate::remarks;
use crate::shapes::{Shape, Writer, Written};
use crate::source::Visitor;
use crate::split::hash;
use crate::unused::{Asked, Unused};
use crate::{
    Chat, Error, Fields, ItemKind, Labels, Limits, NamedColumns, Notes, PairsOf, Result, Row,
    RowRequirement, Source, UnusedFieldReader,
};
use report::Shown;
use sample::Sample;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

/// How many rows are shown, and how many places of a fault are named.
const SHOWN: usize = 3;
const NAMED: usize = 10;

/// How to look.
#[derive(Debug, Clone)]
pub struct Check {
    /// The names of the fields; those left at their defaults are guessed where a row lacks them.
    pub fields: Fields,
    /// How conversations become text.
    pub chat: Chat,
    /// What the vocabulary is, to count tokens; without one, characters are counted.
    pub vocabulary: Option<Vocabulary>,
    /// The greatest lengths, to say what would be cut.
    pub limits: Option<Limits>,
    /// What is kind of rows, where it is known; else what the first row holds.
    pub kind: Option<ItemKind>,
    /// How labels are read.
    pub labels: Labels,
    /// Which pairs scored responses make, and by how much more than this their scores must differ.
    pub pairs_of: (PairsOf, f64),
    /// What else a row must have.
    pub requirements: Vec<Arc<dyn RowRequirement>>,
    /// Who reads fields that no text is made of.
    pub readers: UnusedFieldReader,
}

impl Check {
    /// Goes through all rows of a source once, keeping 8 bytes of each and a sample. `draw` yields a
    /// random whole number below another, to choose the sample.
    ///
    /// # Errors
    /// If a file cannot be read to its end. What is wrong with a row is in the report.
    pub fn run(self, source: &Source, draw: &mut dyn FnMut(usize) -> usize) -> Result<Report> {
        let Self {
            fields,
            chat,
            vocabulary,
            limits,
            kind,
            labels,
            pairs_of,
            requirements,
            readers,
        } = self;
        let mut visit = Visit {
            report: Report::new(fields.clone()),
            first: None,
            writer: Writer { fields, chat },
            sample: Sample::new(vocabulary, limits, kind),
            kind,
            labels,
            pairs_of,
            requirements,
            named_columns: None,
            hashes: Vec::new(),
            prompts: Vec::new(),
            documents: source.options.documents,
            rows_before: 0,
            unused: Unused::default(),
            notes: Notes {
                readers,
                ..Notes::default()
            },
            draw,
        };
        source.visit(&mut visit)?;
        visit.finish()
    }
}

/// The tallies while the files are read.
struct Visit<'a> {
    report: Report,
    /// The shape of the first row that has one, and its place.
    first: Option<(Shape, String)>,
    writer: Writer,
    sample: Sample,
    kind: Option<ItemKind>,
    labels: Labels,
    pairs_of: (PairsOf, f64),
    requirements: Vec<Arc<dyn RowRequirement>>,
    named_columns: Option<NamedColumns>,
    hashes: Vec<u64>,
    /// Of the prompts of the rows that have one.
    prompts: Vec<u64>,
    documents: Documents,
    rows_before: usize,
    unused: Unused,
    /// What training would do to rows by their labels and scores.
    notes: Notes,
    draw: &'a mut dyn FnMut(usize) -> usize,
}

impl Visitor for Visit<'_> {
    fn open(&mut self, path: &Path, file: &Opened) -> Result<()> {
        self.report.files.push((path.into(), file.format));
        self.rows_before = self.report.rows;
        Ok(())
    }

    fn row(&mut self, located: Result<Located>) -> Result<()> {
        self.report.rows += 1;
        match located
            .map(|located| located.row)
            .and_then(|row| self.look(row))
        {
            Err(error) if error.is_row_error() => {
                self.report.bad(&error);
                Ok(())
            }
            other => other,
        }
    }

    fn close(&mut self, facts: Facts) -> Result<()> {
        let Some((path, format)) = self.report.files.last() else {
            return Ok(());
        };
        let name = path.display();
        let rows = self.report.rows - self.rows_before;
        let mut remarks = Vec::new();
        if facts.bom {
            remarks.push(format!(
                "{name} starts with a byte-order mark, which is left out"
            ));
        }
        if facts.crlf > 0 {
            let lines = facts.crlf;
            remarks.push(format!(
                "{name}: {lines} lines end with CR LF, of which neither is kept"
            ));
        }
        if *format == Format::Text {
            if self.documents == Documents::Paragraphs && rows == 1 && facts.lines > 1 {
                remarks.push(format!(
                    "{name} has no blank line and is one document: data.documents = \"lines\" makes \
                     {} of it",
                    facts.lines
                ));
            }
            if let Some(tabs) = facts.tabs.filter(|tabs| *tabs > 0 && facts.lines > 1) {
                remarks.push(format!(
                    "{name} has {} columns separated by tabs in every line: read it as a table with \
                     data.format = \"tsv\" and data.columns",
                    tabs + 1
                ));
            }
        }
        remarks.extend(remarks::of(path, &facts, &self.writer.fields));
        self.report.remarks.extend(remarks);
        Ok(())
    }
}

impl Visit<'_> {
    fn look(&mut self, row: Row) -> Result<()> {
        let mut hasher = DefaultHasher::new();
        for (name, value) in &row.fields {
            hasher.write(name.as_bytes());
            hash(Some(value), &mut hasher);
        }
        self.hashes.push(hasher.finish());
        if self.report.columns.is_empty() {
            self.report.columns = row.fields.keys().cloned().collect();
            self.report.guessed = guess::fields(&mut self.writer.fields, &row, self.kind);
            self.report.fields = self.writer.fields.clone();
        }
        let prompts = self.kind == Some(ItemKind::Prompts);
        let found = match prompts {
            // Whatever else a row holds.
            true => Some(Shape::Prompt),
            false => Shape::of(&row, &self.writer.fields),
        };
        let (kind, fields) = (self.kind, &self.writer.fields);
        let named_columns = self.named_columns.get_or_insert_with(|| {
            let kind = kind
                .or(found.map(Shape::item_kind))
                .unwrap_or(ItemKind::Prompts);
            NamedColumns::new(fields, kind, &row)
        });
        named_columns.visit(&row);
        let kind = kind
            .or(found.map(Shape::item_kind))
            .unwrap_or(ItemKind::Prompts);
        let (fields, requirements) = (&self.writer.fields, &self.requirements);
        self.unused.visit(
            &row,
            &Asked {
                fields,
                kind,
                requirements,
            },
        );
        let shape = match (&self.first, found) {
            (None, None) => {
                let fields = &self.writer.fields;
                return Err(row.lacks(&[&fields.prompt, &fields.text, &fields.chosen]));
            }
            (None, Some(shape)) => {
                self.first = Some((shape, crate::error::place(&row.path, row.line)));
                self.report.shape = Some(shape);
                shape
            }
            (Some((first, place)), Some(shape)) if shape != *first => {
                return Err(mixed(&row, shape, *first, place));
            }
            (Some((first, _)), _) => *first,
        };
        for need in &self.requirements {
            need.check(&row.fields).map_err(|what| row.error(what))?;
        }
        let written = self.writer.write(&row, shape)?;
        let before = self.notes.left_out();
        self.judge(&row, shape, &written)?;
        let taken = self.notes.left_out() == before;
        self.count(&row, shape, &written, taken);
        self.sample.offer(row, shape, written, self.draw)
    }

    /// Reads what a row says of its answers, where they are what is kind.
    fn judge(&mut self, row: &Row, shape: Shape, written: &Written) -> Result<()> {
        if self.kind == Some(ItemKind::Prompts) {
            return Ok(());
        }
        let judged = Judged {
            labels: &self.labels,
            fields: &self.writer.fields,
        };
        match shape {
            Shape::Unpaired => {
                self.notes.undecided += usize::from(judged.liked(row)?.is_none());
            }
            Shape::Preference | Shape::ImplicitPreference | Shape::Scored => {
                judged.of_pair(row, written, &mut self.notes)?;
                let (pairs_of, margin) = self.pairs_of;
                let level =
                    shape == Shape::Scored && pairs_of.choose(&written.scores, margin).is_empty();
                self.notes.level_scores += usize::from(level);
            }
            Shape::Text | Shape::Prompt | Shape::Completion => {}
        }
        Ok(())
    }

    fn count(&mut self, row: &Row, shape: Shape, written: &Written, taken: bool) {
        if let Some(prompt) = &written.prompt {
            let mut hasher = DefaultHasher::new();
            match prompt.text() {
                Some(text) => text.hash(&mut hasher),
                None => prompt.hash(&mut hasher),
            }
            self.prompts.push(hasher.finish());
        }
        let report = &mut self.report;
        report.empty_answers += written.empty_answers();
        report.turns = report.turns.max(written.turns);
        report.conversations |= !written.said.is_empty();
        let pair = matches!(shape, Shape::Preference | Shape::ImplicitPreference);
        if written.apart {
            report.apart += 1;
            if report.apart_places.len() < NAMED {
                let place = crate::error::place(&row.path, row.line);
                report.apart_places.push(place);
            }
        } else {
            let same = pair && written.answers[0] == written.answers[1];
            report.identical += usize::from(same);
            report.left_out += usize::from(same || !taken);
        }
        if report.preview.len() < SHOWN {
            report.preview.push(Shown::of(row, written));
        }
    }

    fn finish(mut self) -> Result<Report> {
        if let (Some(named_columns), Some((path, _))) =
            (&self.named_columns, self.report.files.first())
        {
            named_columns.check(path)?;
        }
        self.hashes.sort_unstable();
        let same = self.hashes.windows(2).filter(|two| two[0] == two[1]);
        self.report.duplicates = same.count();
        self.report.prompts = self.prompts.len();
        self.prompts.sort_unstable();
        self.prompts.dedup();
        self.report.distinct_prompts = self.prompts.len();
        self.sample.finish(&self.writer, &mut self.report)?;
        self.unused.tell(&mut self.notes);
        self.report.remarks.extend(self.notes.sentences());
        Ok(self.report)
    }
}

impl Report {
    fn bad(&mut self, error: &Error) {
        self.bad_rows += 1;
        if self.bad_places.len() < NAMED {
            self.bad_places.push(error.to_string());
        }
    }
}
