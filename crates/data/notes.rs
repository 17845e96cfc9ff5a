//! What was done to rows to make them usable.

use serde::Serialize;
use std::collections::BTreeSet;

/// Names of fields that usually belong to a prompt.
const LIKE_PROMPTS: [&str; 7] = [
    "system",
    "system_prompt",
    "system_message",
    "history",
    "instruction",
    "context",
    "documents",
];

/// Who reads the fields of a row that no text is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UnusedFieldReader {
    /// Nobody.
    #[default]
    Nobody,
    /// A reward may.
    Reward,
}

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
    /// Rows left out because their label says neither yes nor no, where it must.
    pub undecided: usize,
    /// Pairs with a label.
    pub labelled: usize,
    /// Those of them whose label says that neither answer is better.
    pub level_labels: usize,
    /// Pairs without one, whose chosen answer counts as the better one for certain.
    pub unlabelled: usize,
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
    /// Fields that others of their row are read instead of, each in a sentence.
    pub ignored_fields: BTreeSet<String>,
    /// Who reads the unused ones.
    pub readers: UnusedFieldReader,
}

impl Notes {
    /// Adds what was noted of the rows that follow.
    pub fn absorb(&mut self, next: Self) {
        self.cut_prompts += next.cut_prompts;
        self.cut_completions += next.cut_completions;
        self.identical_pairs += next.identical_pairs;
        self.level_scores += next.level_scores;
        self.undecided += next.undecided;
        self.labelled += next.labelled;
        self.level_labels += next.level_labels;
        self.unlabelled += next.unlabelled;
        self.empty_prompts += next.empty_prompts;
        self.empty_completions += next.empty_completions;
        self.boundary_mismatches += next.boundary_mismatches;
        self.boundary_place = self.boundary_place.take().or(next.boundary_place);
        self.rewritten_prompts += next.rewritten_prompts;
        self.skipped_rows += next.skipped_rows;
        self.first_skipped = self.first_skipped.take().or(next.first_skipped);
        self.unused_fields.extend(next.unused_fields);
        self.ignored_fields.extend(next.ignored_fields);
        self.readers = self.readers.max(next.readers);
    }

    /// Rows whose label or scores say of no answer that it is better.
    pub(crate) fn left_out(&self) -> usize {
        self.undecided + self.level_scores
    }

    /// Whether pairs have labels, and every one says that neither answer is better.
    #[must_use]
    pub fn all_labels_are_ties(&self) -> bool {
        self.labelled > 0 && self.level_labels == self.labelled && self.unlabelled == 0
    }

    /// One sentence for each count that is not zero, and for fields that are not used.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        let first = |place: &Option<String>| match place {
            Some(place) => format!(", first {place}"),
            None => String::new(),
        };
        let level = match self.all_labels_are_ties() {
            true => self.level_labels,
            false => 0,
        };
        let boundary = first(&self.boundary_place);
        let boundary = [
            format!(
                "completion has other tokens when tokenized together with its prompt{boundary}: it is \
                 tokenized apart, as in sampling; let the prompt end, or the completion start, where a word \
                 does"
            ),
            format!(
                "completions have other tokens when tokenized together with their prompt{boundary}: they \
                 are tokenized apart, as in sampling; let the prompt end, or the completion start, where a \
                 word does"
            ),
        ];
        let skipped = first(&self.first_skipped);
        let skipped = [
            format!("row skipped because it cannot be used{skipped}"),
            format!("rows skipped because they cannot be used{skipped}"),
        ];
        // Where no row has a label, all are as sure of their chosen answer.
        let unlabelled = match self.labelled {
            0 => 0,
            _ => self.unlabelled,
        };
        [
            (
                self.cut_prompts,
                "prompt is too long: only its end is kept",
                "prompts are too long: only their end is kept",
            ),
            (
                self.cut_completions,
                "completion is too long: only its start is kept",
                "completions are too long: only their start is kept",
            ),
            (
                self.identical_pairs,
                "pair left out: chosen and rejected are the same",
                "pairs left out: chosen and rejected are the same",
            ),
            (
                self.level_scores,
                "row left out: no two of its scores are far enough apart",
                "rows left out: no two of their scores are far enough apart",
            ),
            (
                self.undecided,
                "row left out: its label says neither yes nor no",
                "rows left out: their label says neither yes nor no",
            ),
            (
                level,
                "label, all there is, is one half: it says nothing of which answer is better",
                "labels, all there are, are one half: they say nothing of which answer is better",
            ),
            (
                unlabelled,
                "row has no label, and others have one: its chosen answer counts as the better one for \
                 certain",
                "rows have no label, and others have one: their chosen answer counts as the better one for \
                 certain",
            ),
            (
                self.empty_prompts,
                "prompt is empty: it becomes the bos token",
                "prompts are empty: they become the bos token",
            ),
            (
                self.empty_completions,
                "completion is empty: it becomes the eos token",
                "completions are empty: they become the eos token",
            ),
            (self.boundary_mismatches, &boundary[0], &boundary[1]),
            (
                self.rewritten_prompts,
                "prompt is written otherwise by the chat template once it is answered: it ends where the \
                 two texts part",
                "prompts are written otherwise by the chat template once they are answered: they end where \
                 the two texts part",
            ),
            (self.skipped_rows, &skipped[0], &skipped[1]),
        ]
        .into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, one, more)| format!("{count} {}", if count == 1 { one } else { more }))
        .chain(self.ignored_fields.iter().cloned())
        .chain(unused_sentence(&self.unused_fields, self.readers))
        .collect()
    }
}

/// What is to be said of fields that no text is made of.
pub(crate) fn unused_sentence(
    names: &BTreeSet<String>,
    readers: UnusedFieldReader,
) -> Option<String> {
    if names.is_empty() {
        return None;
    }
    let list = |names: Vec<&String>| {
        let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        quoted.join(", ")
    };
    let prompts = names
        .iter()
        .filter(|name| LIKE_PROMPTS.contains(&name.as_str()));
    let prompts: Vec<_> = prompts.collect();
    let advice = match prompts.is_empty() {
        true => String::new(),
        false => format!(
            "; if {} belongs to the prompt, write it there, or give conversations",
            list(prompts)
        ),
    };
    let reward = match readers {
        UnusedFieldReader::Nobody => "",
        UnusedFieldReader::Reward => "; a reward may read them",
    };
    Some(format!(
        "fields that no prompt or completion is made of: {}{reward}{advice}",
        list(names.iter().collect())
    ))
}
