//! Counts what was changed or skipped while reading rows.

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

/// What reads the fields of a row that are not part of any text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum UnusedFieldReader {
    /// Nothing.
    #[default]
    Nobody,
    /// The reward may read them.
    Reward,
}

/// Counts of what was changed or skipped, and the first place of each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Notes {
    /// Prompts whose start was truncated.
    pub cut_prompts: usize,
    /// Completions whose end was truncated.
    pub cut_completions: usize,
    /// Pairs left out because chosen and rejected are the same.
    pub identical_pairs: usize,
    /// Rows of scored responses left out because no two scores differ enough.
    pub tied_scores: usize,
    /// Rows left out because their label is a tie, where ties are refused.
    pub neutral_labels: usize,
    /// Pairs with a label.
    pub labelled: usize,
    /// Pairs whose label is a tie.
    pub tied_labels: usize,
    /// Pairs without a label, whose chosen answer counts as the better one with probability 1.
    pub unlabelled: usize,
    /// Empty prompts that became the beginning-of-sequence token.
    pub empty_prompts: usize,
    /// Empty completions.
    pub empty_completions: usize,
    /// Completions that tokenize differently together with their prompt. They are tokenized
    /// separately, as in sampling, which starts after the prompt's tokens.
    pub boundary_mismatches: usize,
    /// The file and line of the first one.
    pub boundary_place: Option<String>,
    /// Prompts that the chat template renders differently once they are answered.
    pub rewritten_prompts: usize,
    /// Rows skipped because they cannot be used.
    pub skipped_rows: usize,
    /// The first of them, and why.
    pub first_skipped: Option<String>,
    /// Fields that are not part of any prompt or completion.
    pub unused_fields: BTreeSet<String>,
    /// Fields that are ignored because another field of the row is read instead, one sentence each.
    pub ignored_fields: BTreeSet<String>,
    /// What reads the unused fields.
    pub readers: UnusedFieldReader,
}

impl Notes {
    /// Adds the notes of the rows that follow.
    pub fn absorb(&mut self, next: Self) {
        self.cut_prompts += next.cut_prompts;
        self.cut_completions += next.cut_completions;
        self.identical_pairs += next.identical_pairs;
        self.tied_scores += next.tied_scores;
        self.neutral_labels += next.neutral_labels;
        self.labelled += next.labelled;
        self.tied_labels += next.tied_labels;
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

    /// The number of rows left out because no answer is better.
    pub(crate) fn left_out(&self) -> usize {
        self.neutral_labels + self.tied_scores
    }

    /// Whether pairs have labels and all of them are ties.
    #[must_use]
    pub fn all_labels_are_ties(&self) -> bool {
        self.labelled > 0 && self.tied_labels == self.labelled && self.unlabelled == 0
    }

    /// One sentence for each count that is not zero, and for fields that are not used.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        let first = |place: &Option<String>| match place {
            Some(place) => format!(", first {place}"),
            None => String::new(),
        };
        let level = if self.all_labels_are_ties() {
            self.tied_labels
        } else {
            0
        };
        let boundary = first(&self.boundary_place);
        let boundary = [
            format!(
                "completion tokenizes differently together with its prompt{boundary}: it is \
                 tokenized separately, as in sampling; end the prompt, or start the completion, at \
                 a word boundary"
            ),
            format!(
                "completions tokenize differently together with their prompt{boundary}: they are \
                 tokenized separately, as in sampling; end the prompt, or start the completion, at \
                 a word boundary"
            ),
        ];
        let skipped = first(&self.first_skipped);
        let skipped = [
            format!("row skipped because it cannot be used{skipped}"),
            format!("rows skipped because they cannot be used{skipped}"),
        ];
        // If no row has a label, there is nothing to report.
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
                self.tied_scores,
                "row left out: no two of its scores differ enough",
                "rows left out: no two of their scores differ enough",
            ),
            (
                self.neutral_labels,
                "row left out: its label is a tie",
                "rows left out: their label is a tie",
            ),
            (
                level,
                "label, the only one, is a tie: it does not say which answer is better",
                "labels, all of them, are ties: they do not say which answer is better",
            ),
            (
                unlabelled,
                "row has no label, but others have one: its chosen answer counts as the better one \
                 with certainty",
                "rows have no label, but others have one: their chosen answer counts as the better \
                 one with certainty",
            ),
            (
                self.empty_prompts,
                "prompt is empty: it becomes the BOS token",
                "prompts are empty: they become the BOS token",
            ),
            (
                self.empty_completions,
                "completion is empty: it becomes the EOS token",
                "completions are empty: they become the EOS token",
            ),
            (self.boundary_mismatches, &boundary[0], &boundary[1]),
            (
                self.rewritten_prompts,
                "prompt is rendered differently by the chat template once it is answered: it ends \
                 at the first difference",
                "prompts are rendered differently by the chat template once they are answered: they \
                 end at the first difference",
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

/// The sentence about fields that are not part of any text.
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
    let advice = if prompts.is_empty() {
        String::new()
    } else {
        format!(
            "; if {} belongs to the prompt, write it into the prompt, or use conversations",
            list(prompts)
        )
    };
    let reward = match readers {
        UnusedFieldReader::Nobody => "",
        UnusedFieldReader::Reward => "; a reward may read them",
    };
    Some(format!(
        "fields that are not part of any prompt or completion: {}{reward}{advice}",
        list(names.iter().collect())
    ))
}
