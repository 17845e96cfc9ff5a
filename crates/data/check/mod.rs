//! Inspects a data set before training.

mod guess;
mod report;
mod sample;

pub use report::Report;

use crate::encode::Vocabulary;
use crate::formats::{Documents, Facts, Format, Located, Opened};
use crate::reader::mixed;
use crate::remarks;
use crate::row_labels::LabelReader;
use crate::shapes::{ParsedRow, RowParser, Shape};
use crate::source::Visitor;
use crate::split::hash_value;
use crate::unused::{RowUse, UnusedFields};
use crate::{
    Chat, Error, Fields, ItemKind, Labels, Limits, NamedColumns, Notes, PairsOf, Result, Row,
    RowRequirement, Source, UnusedFieldReader,
};
use report::RowPreview;
use sample::Sample;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

/// The number of rows shown, and of places listed for each problem.
const PREVIEW_ROWS: usize = 3;
const NAMED_PLACES: usize = 10;

/// The settings of a check.
#[derive(Debug, Clone)]
pub struct Check {
    /// The names of the fields. Those left at their defaults are guessed if a row lacks them.
    pub fields: Fields,
    /// How conversations become text.
    pub chat: Chat,
    /// The tokenizer, to count tokens. Without one, characters are counted.
    pub vocabulary: Option<Vocabulary>,
    /// The maximum lengths, to report what would be truncated.
    pub limits: Option<Limits>,
    /// The kind of item read from rows, if known; otherwise the shape of the first row decides.
    pub kind: Option<ItemKind>,
    /// How labels are read.
    pub labels: Labels,
    /// Which pairs are made from scored responses, and the margin by which their scores must
    /// differ.
    pub pairs_of: (PairsOf, f64),
    /// Further requirements on each row.
    pub requirements: Vec<Arc<dyn RowRequirement>>,
    /// What reads the fields that are not part of any text.
    pub readers: UnusedFieldReader,
}

impl Check {
    /// Reads all rows of a source once, keeping 8 bytes of each and a sample. `draw` returns a
    /// random integer below its argument, to choose the sample.
    ///
    /// # Errors
    /// If a file cannot be read to its end. Problems with single rows are in the report.
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
        let mut visit = CheckVisitor {
            report: Report::new(fields.clone()),
            first: None,
            parser: RowParser { fields, chat },
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
            unused: UnusedFields::default(),
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

/// The counts while the files are read.
struct CheckVisitor<'a> {
    report: Report,
    /// The shape and place of the first row that has a shape.
    first: Option<(Shape, String)>,
    parser: RowParser,
    sample: Sample,
    kind: Option<ItemKind>,
    labels: Labels,
    pairs_of: (PairsOf, f64),
    requirements: Vec<Arc<dyn RowRequirement>>,
    named_columns: Option<NamedColumns>,
    hashes: Vec<u64>,
    /// Hashes of the prompts.
    prompts: Vec<u64>,
    documents: Documents,
    rows_before: usize,
    unused: UnusedFields,
    /// What training would do to rows because of their labels and scores.
    notes: Notes,
    draw: &'a mut dyn FnMut(usize) -> usize,
}

impl Visitor for CheckVisitor<'_> {
    fn open(&mut self, path: &Path, file: &Opened) -> Result<()> {
        self.report.files.push((path.into(), file.format));
        self.rows_before = self.report.rows;
        Ok(())
    }

    fn row(&mut self, located: Result<Located>) -> Result<()> {
        self.report.rows += 1;
        match located
            .map(|located| located.row)
            .and_then(|row| self.check_row(row))
        {
            Err(error) if error.is_row_error() => {
                self.report.add_bad_row(&error);
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
                "{name} starts with a byte-order mark, which is ignored"
            ));
        }
        if facts.crlf > 0 {
            let lines = facts.crlf;
            remarks.push(format!(
                "{name}: {lines} lines end with CR LF, which is removed"
            ));
        }
        if *format == Format::Text {
            if self.documents == Documents::Paragraphs && rows == 1 && facts.lines > 1 {
                remarks.push(format!(
                    "{name} has no blank line and is one document: data.documents = \"lines\" makes \
                     {} documents of it",
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
        remarks.extend(remarks::about_file(path, &facts, &self.parser.fields));
        self.report.remarks.extend(remarks);
        Ok(())
    }
}

impl CheckVisitor<'_> {
    fn check_row(&mut self, row: Row) -> Result<()> {
        let mut hasher = DefaultHasher::new();
        for (name, value) in &row.fields {
            hasher.write(name.as_bytes());
            hash_value(Some(value), &mut hasher);
        }
        self.hashes.push(hasher.finish());
        if self.report.columns.is_empty() {
            self.report.columns = row.fields.keys().cloned().collect();
            self.report.guessed = guess::fields(&mut self.parser.fields, &row, self.kind);
            self.report.fields = self.parser.fields.clone();
        }
        let prompts = self.kind == Some(ItemKind::Prompts);
        let found = match prompts {
            // Prompts are read from rows of any shape.
            true => Some(Shape::Prompt),
            false => Shape::of(&row, &self.parser.fields),
        };
        let (kind, fields) = (self.kind, &self.parser.fields);
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
        let (fields, requirements) = (&self.parser.fields, &self.requirements);
        self.unused.visit(
            &row,
            &RowUse {
                fields,
                kind,
                requirements,
            },
        );
        let shape = match (&self.first, found) {
            (None, None) => {
                let fields = &self.parser.fields;
                return Err(row.missing_fields(&[&fields.prompt, &fields.text, &fields.chosen]));
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
        let parsed = self.parser.parse(&row, shape)?;
        let before = self.notes.left_out();
        self.read_labels(&row, shape, &parsed)?;
        let taken = self.notes.left_out() == before;
        self.count(&row, shape, &parsed, taken);
        self.sample.offer(row, shape, parsed, self.draw)
    }

    /// Reads the labels of a row, unless only prompts are read.
    fn read_labels(&mut self, row: &Row, shape: Shape, parsed: &ParsedRow) -> Result<()> {
        if self.kind == Some(ItemKind::Prompts) {
            return Ok(());
        }
        let labels = LabelReader {
            labels: &self.labels,
            fields: &self.parser.fields,
        };
        match shape {
            Shape::Unpaired => {
                self.notes.neutral_labels += usize::from(labels.read_desirable(row)?.is_none());
            }
            Shape::Preference | Shape::ImplicitPreference | Shape::Scored => {
                labels.read_pair(row, parsed, &mut self.notes)?;
                let (pairs_of, margin) = self.pairs_of;
                let level =
                    shape == Shape::Scored && pairs_of.choose(&parsed.scores, margin).is_empty();
                self.notes.tied_scores += usize::from(level);
            }
            Shape::Text | Shape::Prompt | Shape::Completion => {}
        }
        Ok(())
    }

    fn count(&mut self, row: &Row, shape: Shape, parsed: &ParsedRow, taken: bool) {
        if let Some(prompt) = &parsed.prompt {
            let mut hasher = DefaultHasher::new();
            match prompt.text() {
                Some(text) => text.hash(&mut hasher),
                None => prompt.hash(&mut hasher),
            }
            self.prompts.push(hasher.finish());
        }
        let report = &mut self.report;
        report.empty_answers += parsed.empty_answers();
        report.turns = report.turns.max(parsed.turns);
        report.conversations |= !parsed.contents.is_empty();
        let pair = matches!(shape, Shape::Preference | Shape::ImplicitPreference);
        if parsed.prompts_differ {
            report.apart += 1;
            if report.apart_places.len() < NAMED_PLACES {
                let place = crate::error::place(&row.path, row.line);
                report.apart_places.push(place);
            }
        } else {
            let same = pair && parsed.answers[0] == parsed.answers[1];
            report.identical += usize::from(same);
            report.left_out += usize::from(same || !taken);
        }
        if report.preview.len() < PREVIEW_ROWS {
            report.preview.push(RowPreview::of(row, parsed));
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
        self.sample.finish(&self.parser, &mut self.report)?;
        self.unused.report(&mut self.notes);
        self.report.remarks.extend(self.notes.sentences());
        Ok(self.report)
    }
}

impl Report {
    fn add_bad_row(&mut self, error: &Error) {
        self.bad_rows += 1;
        if self.bad_places.len() < NAMED_PLACES {
            self.bad_places.push(error.to_string());
        }
    }
}
