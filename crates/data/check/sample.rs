//! Lengths, of a random sample of the rows.

use super::report::{Lengths, Report};
use crate::encode::Vocabulary;
use crate::shapes::{Piece, Shape, Writer, Written};
use crate::{ItemKind, Limits, Notes, PromptLengths, Result, Row};
use rayon::prelude::*;

/// Rows in the sample, at most.
pub(super) const SIZE: usize = 20_000;

/// Rows that wait to be tokenized, and the bytes they may have.
const WAITING: usize = 1024;
const BYTES: usize = 8 << 20;

/// A uniform sample of the rows seen so far (Vitter 1985, algorithm R), of which lengths are kept and
/// no text.
pub(super) struct Sample {
    vocabulary: Option<Vocabulary>,
    limits: Option<Limits>,
    kind: Option<ItemKind>,
    seen: usize,
    slots: Vec<Measured>,
    waiting: Vec<(usize, Row, Shape, Written)>,
    bytes: usize,
    refused: Vec<crate::Error>,
}

/// The lengths of a row: its prompt's, and its answers' or its document's.
#[derive(Debug, Clone, Default)]
struct Measured {
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
            waiting: Vec::new(),
            bytes: 0,
            refused: Vec::new(),
        }
    }

    /// Takes a row, or one by chance that displaces another.
    pub(super) fn offer(
        &mut self,
        row: Row,
        shape: Shape,
        written: Written,
        draw: &mut dyn FnMut(usize) -> usize,
    ) -> Result<()> {
        let slot = match self.seen < SIZE {
            true => {
                self.slots.push(Measured::default());
                self.seen
            }
            false => draw(self.seen + 1),
        };
        self.seen += 1;
        if slot >= SIZE {
            return Ok(());
        }
        let pieces = written.prompt.iter().chain(&written.answers);
        self.bytes += pieces
            .map(|piece| piece.text().map_or(0, str::len))
            .sum::<usize>();
        self.waiting.push((slot, row, shape, written));
        if self.waiting.len() >= WAITING || self.bytes >= BYTES {
            self.measure();
        }
        Ok(())
    }

    /// Measures what waits, on all threads.
    fn measure(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        self.bytes = 0;
        let vocabulary = self.vocabulary.as_ref();
        let measured: Vec<_> = waiting
            .par_iter()
            .with_min_len(8)
            .map(|(slot, row, shape, written)| (*slot, lengths(vocabulary, row, *shape, written)))
            .collect();
        for (slot, found) in measured {
            match found {
                Ok(found) => self.slots[slot] = found,
                Err(error) => self.refused.push(error),
            }
        }
    }

    /// What the sample says.
    pub(super) fn finish(mut self, writer: &Writer, report: &mut Report) -> Result<()> {
        self.measure();
        for error in &self.refused {
            report.bad(error);
        }
        let Some(shape) = report.shape else {
            return Ok(());
        };
        report.sampled = self.slots.len();
        report.unit = match self.vocabulary {
            Some(_) => "tokens",
            None => "characters",
        };
        let fields = &writer.fields;
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
            let of = |slot: &Measured| match shape {
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
            self.cuts(limits, shape, report);
        }
        Ok(())
    }

    /// What would be cut.
    fn cuts(&self, limits: Limits, shape: Shape, report: &mut Report) {
        report.context = Some(limits.context);
        // Responses are drawn to prompts, whatever else their rows hold.
        let drawn = shape == Shape::Prompt || self.kind == Some(ItemKind::Prompts);
        let mut rooms: Option<PromptLengths> = None;
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
                let more = |rooms: PromptLengths| rooms.and(keep);
                rooms = Some(rooms.map_or_else(|| PromptLengths::of(limits, keep), more));
                continue;
            }
            let (keep, most) = limits.fit(prompt, longest);
            report.cut_prompts += usize::from(prompt > keep);
            report.cut_completions += slot.answers.iter().filter(|length| **length > most).count();
        }
        report.responses = rooms.map(|rooms| rooms.sentence());
    }
}

fn lengths(
    vocabulary: Option<&Vocabulary>,
    row: &Row,
    shape: Shape,
    written: &Written,
) -> Result<Measured> {
    let Some(vocabulary) = vocabulary else {
        let count = |piece: &Piece| match piece {
            Piece::Ids(ids) => ids.len(),
            Piece::Text(text) | Piece::Rendered(text) => text.chars().count(),
        };
        return Ok(Measured {
            prompt: written.prompt.as_ref().map(count),
            answers: written.answers.iter().map(count).collect(),
            ..Measured::default()
        });
    };
    let mut notes = Notes::default();
    if shape == Shape::Text {
        let ids = vocabulary.document(row, "text", &written.answers[0])?;
        return Ok(Measured {
            answers: vec![ids.len()],
            ..Measured::default()
        });
    }
    let prompt = written.prompt.as_ref();
    let prompt = prompt.map(|piece| vocabulary.prompt(row, "prompt", piece, &mut notes));
    let prompt = prompt.transpose()?.map(|encoded| encoded.ids.len());
    let answer = |piece| vocabulary.completion(row, "completion", piece, &mut Notes::default());
    let answers = written
        .answers
        .iter()
        .map(|piece| Ok(answer(piece)?.ids.len()));
    let answers = answers.collect::<Result<_>>()?;
    if !written.apart {
        vocabulary.note_boundary(row, written, &mut notes)?;
    }
    Ok(Measured {
        prompt,
        answers,
        mismatch: notes.boundary_mismatches > 0,
        empty_prompt: notes.empty_prompts > 0,
    })
}
