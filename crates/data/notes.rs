//! What was done to rows to make them usable.

use crate::unused;
use serde::Serialize;
use std::collections::BTreeSet;

/// Counts of what was done, and where it was done first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Notes {
    /// Prompts that lost their start.
    pub cut_prompts: usize,
    /// Completions that lost their end.
    pub cut_completions: usize,
    /// Pairs left out because chosen and rejected are the same.
    pub identical_pairs: usize,
    /// Rows of scored responses left out because no two scores are far enough apart.
    pub level_scores: usize,
    /// Empty prompts that became the beginning-of-sequence token.
    pub empty_prompts: usize,
    /// Completions that say nothing.
    pub empty_completions: usize,
    /// Completions whose tokens are others when prompt and completion are tokenized as one text. They
    /// are tokenized apart, as sampling does, which starts where the prompt's tokens end.
    pub boundary_mismatches: usize,
    /// The first of them, file and line.
    pub boundary_place: Option<String>,
    /// Prompts that the chat template writes otherwise once they are answered.
    pub rewritten_prompts: usize,
    /// Rows left out because they cannot be used.
    pub skipped_rows: usize,
    /// The first of them, and why.
    pub first_skipped: Option<String>,
    /// Fields that no prompt or completion is made of.
    pub unused_fields: BTreeSet<String>,
}

impl Notes {
    /// Adds what was noted of the rows that follow.
    pub fn absorb(&mut self, next: Self) {
        self.cut_prompts += next.cut_prompts;
        self.cut_completions += next.cut_completions;
        self.identical_pairs += next.identical_pairs;
        self.level_scores += next.level_scores;
        self.empty_prompts += next.empty_prompts;
        self.empty_completions += next.empty_completions;
        self.boundary_mismatches += next.boundary_mismatches;
        self.boundary_place = self.boundary_place.take().or(next.boundary_place);
        self.rewritten_prompts += next.rewritten_prompts;
        self.skipped_rows += next.skipped_rows;
        self.first_skipped = self.first_skipped.take().or(next.first_skipped);
        self.unused_fields.extend(next.unused_fields);
    }

    /// One sentence for each count that is not zero, and for fields that are not used.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        let first = |place: &Option<String>| match place {
            Some(place) => format!(", first {place}"),
            None => String::new(),
        };
        let boundary = format!(
            "completions have other tokens when tokenized together with their prompt{}: they are \
             tokenized apart, as in sampling; let the prompt end, or the completion start, where a \
             word does",
            first(&self.boundary_place)
        );
        let skipped = format!(
            "rows skipped because they cannot be used{}",
            first(&self.first_skipped)
        );
        [
            (
                self.cut_prompts,
                "prompts are too long: only their end is kept",
            ),
            (
                self.cut_completions,
                "completions are too long: only their start is kept",
            ),
            (
                self.identical_pairs,
                "pairs left out: chosen and rejected are the same",
            ),
            (
                self.level_scores,
                "rows left out: no two of their scores are far enough apart",
            ),
            (
                self.empty_prompts,
                "prompts are empty: they become the bos token",
            ),
            (
                self.empty_completions,
                "completions are empty: they become the eos token",
            ),
            (self.boundary_mismatches, &boundary),
            (
                self.rewritten_prompts,
                "prompts are written otherwise by the chat template once they are answered: they \
                 end where the two texts part",
            ),
            (self.skipped_rows, &skipped),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .chain(unused::sentence(&self.unused_fields))
        .collect()
    }
}
