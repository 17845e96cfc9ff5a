//! What was found.

use crate::error::place;
use crate::shapes::{Piece, Written};
use crate::{Fields, Format, Row, Shape};
use serde::Serialize;
use std::path::PathBuf;

/// How much of a text is shown, in characters.
const WIDTH: usize = 300;

/// What a data set holds, and what is wrong with it. Counts are of all rows, where nothing else is
/// said.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The files and their formats.
    pub files: Vec<(PathBuf, Format)>,
    /// Rows, bad ones included.
    pub rows: usize,
    /// The fields of the first row.
    pub columns: Vec<String>,
    /// The names by which fields were read.
    pub fields: Fields,
    /// Those that were guessed, as settings.
    pub guessed: Vec<String>,
    /// The shape of the first row, which all must have.
    pub shape: Option<Shape>,
    /// Whether there are conversations.
    pub conversations: bool,
    /// The greatest number of turns of a dialogue: answers in a string, messages in a conversation.
    pub turns: usize,
    /// Rows that cannot be used: not readable, a field missing or of the wrong type, another shape.
    pub bad_rows: usize,
    /// The first of them, and why.
    pub bad_places: Vec<String>,
    /// Rows that repeat an earlier one.
    pub duplicates: usize,
    /// Rows that have a prompt.
    pub prompts: usize,
    /// How many of these prompts are distinct: what is measured says as much about others as so many
    /// prompts do, however often each is listed.
    pub distinct_prompts: usize,
    /// Answers that say nothing.
    pub empty_answers: usize,
    /// Pairs whose chosen and rejected answers are the same.
    pub identical: usize,
    /// Rows that training leaves out although they are not bad: their label or scores say of no answer
    /// that it is better, or both answers are the same.
    pub left_out: usize,
    /// Pairs that share no prompt: they cannot be used either.
    pub apart: usize,
    /// The first of them.
    pub apart_places: Vec<String>,
    /// Rows in the sample that lengths and the counts below are of.
    pub sampled: usize,
    /// What lengths are counted in: tokens (EOS included), or characters.
    pub unit: &'static str,
    /// The lengths of each part of a row.
    pub lengths: Vec<Lengths>,
    /// The context that rows must fit, where it is known.
    pub context: Option<usize>,
    /// How long responses to the prompts in the sample may be, in words.
    pub responses: Option<String>,
    /// Prompts in the sample that would lose their start.
    pub cut_prompts: usize,
    /// Completions in the sample that would lose their end.
    pub cut_completions: usize,
    /// Documents in the sample that would be cut into pieces.
    pub cut_documents: usize,
    /// Prompts in the sample without a token.
    pub empty_prompts: usize,
    /// Rows in the sample in which the tokens of prompt and completion are others when tokenized as
    /// one text.
    pub boundary_mismatches: usize,
    /// Whatever else is worth knowing about the files.
    pub remarks: Vec<String>,
    /// The first rows.
    pub preview: Vec<Shown>,
}

/// The lengths of a part of a row, in the sample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lengths {
    /// The field.
    pub part: String,
    /// The least.
    pub min: usize,
    /// Half are at most this.
    pub median: usize,
    /// Nine of ten are.
    pub p90: usize,
    /// 99 of 100 are.
    pub p99: usize,
    /// The greatest.
    pub max: usize,
}

impl Lengths {
    pub(super) fn of(part: &str, lengths: impl Iterator<Item = usize>) -> Option<Self> {
        let mut sorted: Vec<usize> = lengths.collect();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        // The least length that so many percent are at most as long as.
        let at = |percent: usize| sorted[((last + 1) * percent).div_ceil(100).max(1) - 1];
        Some(Self {
            part: part.into(),
            min: sorted[0],
            median: at(50),
            p90: at(90),
            p99: at(99),
            max: sorted[last],
        })
    }
}

/// A row as it is understood.
#[derive(Debug, Clone, Serialize)]
pub struct Shown {
    /// Its file and line.
    pub place: String,
    /// The start of its prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The starts of its answers, or of the document.
    pub answers: Vec<String>,
}

impl Shown {
    pub(super) fn of(row: &Row, written: &Written) -> Self {
        Self {
            place: place(&row.path, row.line),
            prompt: written.prompt.as_ref().map(start),
            answers: written.answers.iter().map(start).collect(),
        }
    }
}

fn start(piece: &Piece) -> String {
    let text = match piece {
        Piece::Ids(ids) => format!("{ids:?}"),
        Piece::Text(text) | Piece::Rendered(text) => text.clone(),
    };
    match text.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Places, each with what is said of it, and how many more there are.
fn named<'a>(places: &'a [String], all: usize, said: &'a str) -> impl Iterator<Item = String> {
    let more = all.saturating_sub(places.len());
    let more = (more > 0).then(|| format!("and {more} more{said}"));
    places
        .iter()
        .map(move |place| format!("{place}{said}"))
        .chain(more)
}

impl Report {
    pub(super) fn new(fields: Fields) -> Self {
        Self {
            files: Vec::new(),
            rows: 0,
            columns: Vec::new(),
            fields,
            guessed: Vec::new(),
            shape: None,
            conversations: false,
            turns: 0,
            bad_rows: 0,
            bad_places: Vec::new(),
            duplicates: 0,
            prompts: 0,
            distinct_prompts: 0,
            empty_answers: 0,
            identical: 0,
            left_out: 0,
            apart: 0,
            apart_places: Vec::new(),
            sampled: 0,
            unit: "characters",
            lengths: Vec::new(),
            context: None,
            responses: None,
            cut_prompts: 0,
            cut_completions: 0,
            cut_documents: 0,
            empty_prompts: 0,
            boundary_mismatches: 0,
            remarks: Vec::new(),
            preview: Vec::new(),
        }
    }

    /// How many rows training would refuse.
    #[must_use]
    pub fn unusable(&self) -> usize {
        self.bad_rows + self.apart
    }

    /// How many rows are left to train on, and how many it takes: an answer that is judged by itself is
    /// compared with another row's.
    #[must_use]
    pub fn usable_and_required(&self) -> (usize, usize) {
        let out = self.unusable() + self.left_out;
        let least = match self.shape {
            Some(Shape::Unpaired) => 2,
            _ => 1,
        };
        (self.rows.saturating_sub(out), least)
    }

    /// The report as lines for a person, each with its name.
    #[must_use]
    pub fn lines(&self) -> Vec<(String, String)> {
        let mut lines = self.head();
        for lengths in &self.lengths {
            let Lengths {
                part,
                min,
                median,
                p90,
                p99,
                max,
            } = lengths;
            let unit = self.unit;
            let text = format!("{min} to {max} {unit}, median {median}, 90 % {p90}, 99 % {p99}");
            lines.push((part.clone(), text));
        }
        let responses = self.responses.iter();
        lines.extend(responses.map(|words| ("responses".to_string(), words.clone())));
        for (name, count, words) in self.faults() {
            if count > 0 {
                lines.push((name.into(), format!("{count} {words}")));
            }
        }
        let bad = named(&self.bad_places, self.bad_rows, "");
        let apart = named(&self.apart_places, self.apart, ": no shared prompt");
        let places = bad.chain(apart).map(|place| ("", place));
        let remarks = self.remarks.iter().map(|remark| ("remark", remark.clone()));
        let rest = places.chain(remarks);
        lines.extend(rest.map(|(name, text)| (name.to_string(), text)));
        for shown in &self.preview {
            lines.push(("row".into(), shown.place.clone()));
            let prompt = shown.prompt.iter().map(|prompt| ("prompt", prompt));
            let answers = shown.answers.iter().map(|answer| ("answer", answer));
            let texts = prompt.chain(answers);
            // Escaped, for a file may hold what moves a terminal's cursor.
            lines.extend(texts.map(|(name, text)| (format!("  {name}"), format!("{text:?}"))));
        }
        lines
    }

    fn head(&self) -> Vec<(String, String)> {
        let mut lines = Vec::new();
        for (path, format) in &self.files {
            let format = format!("{format:?}").to_lowercase();
            lines.push(("file".to_string(), format!("{} ({format})", path.display())));
        }
        lines.push(("rows".into(), self.rows.to_string()));
        if self.prompts > 0 {
            let (all, distinct) = (self.prompts, self.distinct_prompts);
            lines.push(("prompts".into(), format!("{all}, {distinct} distinct")));
        }
        lines.push(("columns".into(), self.columns.join(", ")));
        let mut shape = self.shape.map_or("none known", Shape::words).to_string();
        if self.conversations {
            shape += ", conversations";
        }
        if self.turns > 0 {
            shape += &format!(", up to {} turns", self.turns);
        }
        lines.push(("shape".into(), shape));
        if !self.guessed.is_empty() {
            lines.push((
                "guessed".into(),
                format!("--set {}", self.guessed.join(" --set ")),
            ));
        }
        if self.sampled > 0 && self.sampled < self.rows {
            lines.push(("sample".into(), format!("{} rows", self.sampled)));
        }
        lines
    }

    /// What may be wrong: a name, how often, and what it is.
    fn faults(&self) -> Vec<(&'static str, usize, String)> {
        let context = self.context.unwrap_or(0);
        let sampled = match self.sampled < self.rows {
            true => " in the sample",
            false => "",
        };
        let cut = |what: &str| format!("{what}{sampled} (context {context})");
        vec![
            ("bad", self.bad_rows, "rows cannot be used".into()),
            ("bad", self.apart, "pairs share no prompt".into()),
            (
                "duplicates",
                self.duplicates,
                "rows repeat an earlier one".into(),
            ),
            ("empty", self.empty_answers, "answers say nothing".into()),
            (
                "empty",
                self.empty_prompts,
                format!("prompts have no token{sampled}"),
            ),
            (
                "same",
                self.identical,
                "pairs have the same answer twice".into(),
            ),
            (
                "cut",
                self.cut_prompts,
                cut("prompts would lose their start"),
            ),
            (
                "cut",
                self.cut_completions,
                cut("completions would lose their end"),
            ),
            (
                "cut",
                self.cut_documents,
                cut("documents would be cut into pieces"),
            ),
            (
                "boundary",
                self.boundary_mismatches,
                format!("rows{sampled} have other tokens when prompt and completion are one text"),
            ),
        ]
    }
}
