//! Groups of responses to the same prompt.

use rlhf_objective::{Error, Result, Sequences};
use std::ops::Range;

/// The ranges of consecutive responses to the same prompt.
pub(crate) fn groups(sequences: &Sequences) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    for (index, response) in sequences.responses().iter().enumerate() {
        match groups.last_mut() {
            Some(group) if sequences.responses()[group.start].prompt == response.prompt => {
                group.end = index + 1;
            }
            _ => groups.push(index..index + 1),
        }
    }
    groups
}

/// The same, if each group has at least two responses.
pub(crate) fn groups_of_at_least_two(sequences: &Sequences) -> Result<Vec<Range<usize>>> {
    let groups = groups(sequences);
    match groups.iter().position(|group| group.len() < 2) {
        _ if groups.is_empty() => Err(Error::Empty("there are no rollouts".into())),
        Some(prompt) => Err(Error::Unsupported(format!(
            "prompt {prompt} has only one response, which this method cannot compare with others: \
            set sampling.samples_per_prompt to at least 2"
        ))),
        None => Ok(groups),
    }
}
