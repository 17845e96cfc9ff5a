//! The report of a check.

use crate::error::place;
use crate::shapes::{ParsedRow, Segment};
use crate::{Fields, Format, Row, Shape};
use serde::Serialize;
use std::path::PathBuf;

/// How much of a text is shown, in characters.
const PREVIEW_CHARS: usize = 300;

/// What a data set holds, and its problems. Counts are over all rows unless noted otherwise.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The files and their formats.
    pub files: Vec<(PathBuf, Format)>,
    /// The number of rows, including bad ones.
    pub rows: usize,
    /// The fields of the first row.
    pub columns: Vec<String>,
    /// The field names used.
    pub fields: Fields,
    /// The guessed names, as settings.
    pub guessed: Vec<String>,
    /// The shape of the first row, which all rows must have.
    pub shape: Option<Shape>,
    /// Whether there are conversations.
    pub conversations: bool,
    /// The maximum number of turns of a dialogue: answers in a string, messages in a conversation.
    pub turns: usize,
    /// Rows that cannot be used: not readable, a field missing or of the wrong type, or another
    /// shape.
    pub bad_rows: usize,
    /// The first of them, and why.
    pub bad_places: Vec<String>,
    /// Rows that repeat an earlier one.
    pub duplicates: usize,
    /// Rows that have a prompt.
    pub prompts: usize,
    /// The number of distinct prompts. Repeated prompts add no information to an evaluation.
    pub distinct_prompts: usize,
    /// Empty answers.
    pub empty_answers: usize,
    /// Pairs whose chosen and rejected answers are the same.
    pub identical: usize,
    /// Rows that training leaves out although they are not bad: their label or scores are a tie, or
    /// both answers are the same.
    pub left_out: usize,
    /// Pairs that share no prompt. They cannot be used either.
    pub apart: usize,
    /// The first of them.
    pub apart_places: Vec<String>,
    /// The number of rows in the sample, over which the lengths and the counts below are taken.
    pub sampled: usize,
    /// The unit of the lengths: tokens (including EOS), or characters.
    pub unit: &'static str,
    /// The lengths of each part of a row.
    pub lengths: Vec<Lengths>,
    /// The context length, if known.
    pub context: Option<usize>,
    /// The maximum length of responses to the prompts in the sample, in words.
    pub responses: Option<String>,
    /// Prompts in the sample whose start would be truncated.
    pub cut_prompts: usize,
    /// Completions in the sample whose end would be truncated.
    pub cut_completions: usize,
    /// Documents in the sample that would be split into chunks.
    pub cut_documents: usize,
    /// Prompts in the sample without tokens.
    pub empty_prompts: usize,
    /// Rows in the sample whose completion tokenizes differently together with its prompt.
    pub boundary_mismatches: usize,
    /// Warnings about the files.
    pub remarks: Vec<String>,
    /// The first rows.
    pub preview: Vec<RowPreview>,
}

/// The lengths of a part of a row, in the sample.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lengths {
    /// The field.
    pub part: String,
    /// The minimum.
    pub min: usize,
    /// The 50th percentile.
    pub median: usize,
    /// The 90th percentile.
    pub p90: usize,
    /// The 99th percentile.
    pub p99: usize,
    /// The maximum.
    pub max: usize,
}

impl Lengths {
    pub(super) fn of(part: &str, lengths: impl Iterator<Item = usize>) -> Option<Self> {
        let mut sorted: Vec<usize> = lengths.collect();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        // The percentile by the nearest-rank method.
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

/// A row as it was parsed.
#[derive(Debug, Clone, Serialize)]
pub struct RowPreview {
    /// Its file and line.
    pub place: String,
    /// The start of its prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The starts of its answers, or of the document.
    pub answers: Vec<String>,
}

impl RowPreview {
    pub(super) fn of(row: &Row, parsed: &ParsedRow) -> Self {
        Self {
            place: place(&row.path, row.line),
            prompt: parsed.prompt.as_ref().map(start),
            answers: parsed.answers.iter().map(start).collect(),
        }
    }
}

fn start(segment: &Segment) -> String {
    let text = match segment {
        Segment::Ids(ids) => format!("{ids:?}"),
        Segment::Text(text) | Segment::Rendered(text) => text.clone(),
    };
    match text.char_indices().nth(PREVIEW_CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Places, each with a suffix, and how many more there are.
fn list_places<'a>(
    places: &'a [String],
    all: usize,
    said: &'a str,
) -> impl Iterator<Item = String> {
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

    /// The number of rows that training would reject.
    #[must_use]
    pub fn unusable(&self) -> usize {
        self.bad_rows + self.apart
    }

    /// The number of usable rows, and the minimum that training requires: an unpaired completion is
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

    /// The report as (name, text) lines.
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
        for (name, count, words) in self.problems() {
            if count > 0 {
                lines.push((name.into(), format!("{count} {words}")));
            }
        }
        let bad = list_places(&self.bad_places, self.bad_rows, "");
        let apart = list_places(&self.apart_places, self.apart, ": no shared prompt");
        let places = bad.chain(apart).map(|place| ("", place));
        let remarks = self.remarks.iter().map(|remark| ("remark", remark.clone()));
        let rest = places.chain(remarks);
        lines.extend(rest.map(|(name, text)| (name.to_string(), text)));
        for shown in &self.preview {
            lines.push(("row".into(), shown.place.clone()));
            let prompt = shown.prompt.iter().map(|prompt| ("prompt", prompt));
            let answers = shown.answers.iter().map(|answer| ("answer", answer));
            let texts = prompt.chain(answers);
            // Escaped, because a file may hold terminal control sequences.
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

    /// The problems: a name, a count and a description.
    fn problems(&self) -> Vec<(&'static str, usize, String)> {
        let context = self.context.unwrap_or(0);
        let sampled = if self.sampled < self.rows {
            " in the sample"
        } else {
            ""
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
            ("empty", self.empty_answers, "answers are empty".into()),
            (
                "empty",
                self.empty_prompts,
                format!("prompts have no tokens{sampled}"),
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
                cut("documents would be split into chunks"),
            ),
            (
                "boundary",
                self.boundary_mismatches,
                format!(
                    "rows{sampled} tokenize differently when prompt and completion are one text"
                ),
            ),
        ]
    }
}
