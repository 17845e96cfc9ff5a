//! Counts and reasons in words.

use rlhf_data::Notes;

/// Why a file leaves nothing to train on, and what can be done.
pub(crate) fn nothing_left(notes: &Notes, held_out: usize) -> String {
    // Of all notes, those of rows that give nothing.
    let left_out = Notes {
        identical_pairs: notes.identical_pairs,
        tied_scores: notes.tied_scores,
        neutral_labels: notes.neutral_labels,
        skipped_rows: notes.skipped_rows,
        first_skipped: notes.first_skipped.clone(),
        ..Notes::default()
    };
    let mut why = left_out.sentences();
    if !why.is_empty() {
        why.push("`rlhf data check` shows what is in it".into());
    }
    if held_out > 0 {
        why.push(format!(
            "{held_out} held out, which a lower data.held_out_fraction makes fewer"
        ));
    }
    if why.is_empty() {
        return "its rows give none; `rlhf data check` shows what is in it".into();
    }
    why.join("; ")
}

/// A count with its noun, given in the plural: "1 pair", "2 pairs".
pub(crate) fn counted(count: usize, plural: &str) -> String {
    let singular = plural.strip_suffix('s').unwrap_or(plural);
    format!("{count} {}", if count == 1 { singular } else { plural })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular() {
        assert_eq!(counted(1, "pairs"), "1 pair");
        assert_eq!(counted(0, "prompts"), "0 prompts");
        assert_eq!(counted(2, "distinct prompts"), "2 distinct prompts");
    }

    #[test]
    fn what_leaves_nothing_is_named() {
        let notes = Notes {
            identical_pairs: 12,
            skipped_rows: 3,
            first_skipped: Some("x.jsonl:4: no prompt".into()),
            cut_prompts: 7,
            ..Notes::default()
        };
        let said = nothing_left(&notes, 0);
        assert!(
            said.starts_with("12 pairs left out: chosen and rejected are the same; 3 rows skipped")
                && said.contains("x.jsonl:4")
                && !said.contains("7"),
            "{said}"
        );
        assert!(!said.contains("held_out_fraction"), "{said}");
        assert!(said.ends_with("; `rlhf data check` shows what is in it"));
        let said = nothing_left(&Notes::default(), 4);
        assert!(said.starts_with("4 held out"), "{said}");
        assert!(said.contains("data.held_out_fraction"), "{said}");
    }
}
