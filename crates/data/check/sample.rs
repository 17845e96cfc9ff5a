//! Measures the lengths of a random sample of the rows.

use super::report::{Lengths, Report};
use crate::encode::Vocabulary;
use crate::shapes::{ParsedRow, RowParser, Segment, Shape};
use crate::{ItemKind, Limits, Notes, PromptLengths, Result, Row};
use rayon::prelude::*;

/// The maximum number of rows in the sample.
pub(super) const SIZE: usize = 20_000;

/// The maximum number of rows waiting to be tokenized, and their maximum size in bytes.
const PENDING_ROWS: usize = 1024;
const PENDING_BYTES: usize = 8 << 20;

/// A uniform sample of the rows seen so far (Vitter 1985, algorithm R). Only lengths are kept, no
/// text.
pub(super) struct Sample {
    vocabulary: Option<Vocabulary>,
    limits: Option<Limits>,
    kind: Option<ItemKind>,
    seen: usize,
    slots: Vec<RowLengths>,
    pending: Vec<(usize, Row, Shape, ParsedRow)>,
    bytes: usize,
    errors: Vec<crate::Error>,
}

/// The lengths of a row: of its prompt, and of its answers or its document.
#[derive(Debug, Clone, Default)]
struct RowLengths {
    prompt: Option<usize>,
    answers: Vec<usize>,
    mismatch: bool,
    empty_prompt: bool,
}

impl Sample {
    pub(super) fn new(
        vocabulary: Option<Vocabulary>,
        limits: Option<Limits>,
        kind: Option<ItemKind>,
    ) -> Self {
        Self {
            vocabulary,
            limits,
            kind,
            seen: 0,
            slots: Vec::new(),
            pending: Vec::new(),
            bytes: 0,
            errors: Vec::new(),
        }
    }

    /// Adds a row, or lets it replace a random one.
    pub(super) fn offer(
        &mut self,
        row: Row,
        shape: Shape,
        parsed: ParsedRow,
        draw: &mut dyn FnMut(usize) -> usize,
    ) -> Result<()> {
        let slot = if self.seen < SIZE {
            self.slots.push(RowLengths::default());
            self.seen
        } else {
            draw(self.seen + 1)
        };
        self.seen += 1;
        if slot >= SIZE {
            return Ok(());
        }
        let segments = parsed.prompt.iter().chain(&parsed.answers);
        self.bytes += segments
            .map(|segment| segment.text().map_or(0, str::len))
            .sum::<usize>();
        self.pending.push((slot, row, shape, parsed));
        if self.pending.len() >= PENDING_ROWS || self.bytes >= PENDING_BYTES {
            self.measure();
        }
        Ok(())
    }

    /// Measures the pending rows, on all threads.
    fn measure(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        self.bytes = 0;
        let vocabulary = self.vocabulary.as_ref();
        let measured: Vec<_> = pending
            .par_iter()
            .with_min_len(8)
            .map(|(slot, row, shape, parsed)| (*slot, lengths(vocabulary, row, *shape, parsed)))
            .collect();
        for (slot, found) in measured {
            match found {
                Ok(found) => self.slots[slot] = found,
                Err(error) => self.errors.push(error),
            }
        }
    }

    /// Adds the results to the report.
    pub(super) fn finish(mut self, parser: &RowParser, report: &mut Report) -> Result<()> {
        self.measure();
        for error in &self.errors {
            report.add_bad_row(error);
        }
        let Some(shape) = report.shape else {
            return Ok(());
        };
        report.sampled = self.slots.len();
        report.unit = match self.vocabulary {
            Some(_) => "tokens",
            None => "characters",
        };
        let fields = &parser.fields;
        let names: &[&String] = match shape {
            Shape::Text => &[&fields.text],
            Shape::Prompt => &[],
            Shape::Completion | Shape::Unpaired => &[&fields.completion],
            Shape::Preference | Shape::ImplicitPreference => &[&fields.chosen, &fields.rejected],
            Shape::Scored => &[&fields.responses],
        };
        let prompts = self.slots.iter().filter_map(|slot| slot.prompt);
        report.lengths.extend(Lengths::of(&fields.prompt, prompts));
        for (index, name) in names.iter().enumerate() {
            let of = |slot: &RowLengths| match shape {
                // Of several responses, the longest.
                Shape::Scored => slot.answers.iter().max().copied(),
                _ => slot.answers.get(index).copied(),
            };
            let lengths = self.slots.iter().filter_map(of);
            report.lengths.extend(Lengths::of(name, lengths));
        }
        report.boundary_mismatches = self.slots.iter().filter(|slot| slot.mismatch).count();
        report.empty_prompts = self.slots.iter().filter(|slot| slot.empty_prompt).count();
        if let (Some(limits), Some(_)) = (self.limits, &self.vocabulary) {
            self.count_truncated(limits, shape, report);
        }
        Ok(())
    }

    /// Counts what would be truncated.
    fn count_truncated(&self, limits: Limits, shape: Shape, report: &mut Report) {
        report.context = Some(limits.context);
        // Responses are sampled to prompts, whatever else the rows hold.
        let drawn = shape == Shape::Prompt || self.kind == Some(ItemKind::Prompts);
        let mut prompt_lengths: Option<PromptLengths> = None;
        for slot in &self.slots {
            let longest = slot.answers.iter().max().copied().unwrap_or(1);
            if shape == Shape::Text {
                report.cut_documents += usize::from(longest > limits.context + 1);
                continue;
            }
            let prompt = slot.prompt.unwrap_or(0);
            if drawn {
                let keep = limits.kept_prompt_tokens(prompt);
                report.cut_prompts += usize::from(prompt > keep);
                let more = |prompt_lengths: PromptLengths| prompt_lengths.with(keep);
                prompt_lengths =
                    Some(prompt_lengths.map_or_else(|| PromptLengths::new(limits, keep), more));
                continue;
            }
            let (keep, most) = limits.fit(prompt, longest);
            report.cut_prompts += usize::from(prompt > keep);
            report.cut_completions += slot.answers.iter().filter(|length| **length > most).count();
        }
        report.responses = prompt_lengths.map(|prompt_lengths| prompt_lengths.sentence());
    }
}

fn lengths(
    vocabulary: Option<&Vocabulary>,
    row: &Row,
    shape: Shape,
    parsed: &ParsedRow,
) -> Result<RowLengths> {
    let Some(vocabulary) = vocabulary else {
        let count = |segment: &Segment| match segment {
            Segment::Ids(ids) => ids.len(),
            Segment::Text(text) | Segment::Rendered(text) => text.chars().count(),
        };
        return Ok(RowLengths {
            prompt: parsed.prompt.as_ref().map(count),
            answers: parsed.answers.iter().map(count).collect(),
            ..RowLengths::default()
        });
    };
    let mut notes = Notes::default();
    if shape == Shape::Text {
        let ids = vocabulary.document(row, "text", &parsed.answers[0])?;
        return Ok(RowLengths {
            answers: vec![ids.len()],
            ..RowLengths::default()
        });
    }
    let prompt = parsed.prompt.as_ref();
    let prompt = prompt.map(|segment| vocabulary.prompt(row, "prompt", segment, &mut notes));
    let prompt = prompt.transpose()?.map(|encoded| encoded.ids.len());
    let answer = |segment| vocabulary.completion(row, "completion", segment, &mut Notes::default());
    let answers = parsed
        .answers
        .iter()
        .map(|segment| Ok(answer(segment)?.ids.len()));
    let answers = answers.collect::<Result<_>>()?;
    if !parsed.prompts_differ {
        vocabulary.note_boundary(row, parsed, &mut notes)?;
    }
    Ok(RowLengths {
        prompt,
        answers,
        mismatch: notes.boundary_mismatches > 0,
        empty_prompt: notes.empty_prompts > 0,
    })
}
