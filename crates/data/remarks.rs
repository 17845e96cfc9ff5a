//! Warnings about files, for `data check` and for training.

use crate::Fields;
use crate::formats::Facts;
use std::path::Path;

/// A column name is not longer than this, in characters.
const LONGEST_NAME: usize = 60;

/// A text of this many words is not a column name.
const ROW_WORDS: usize = 5;

/// How many names are shown, and how many characters of each.
const SHOWN_NAMES: (usize, usize) = (3, 30);

/// The warnings about a file.
pub(crate) fn about_file(path: &Path, facts: &Facts, fields: &Fields) -> Vec<String> {
    let heading = facts.heading.as_deref();
    let heading = heading.and_then(|names| about_heading(names, fields));
    let said = heading.into_iter().chain(about_separators(facts));
    said.map(|what| format!("{}: {what}", path.display()))
        .collect()
}

/// Warns that documents end both at EOS texts and at blank lines, of which one may not be intended.
fn about_separators(facts: &Facts) -> Option<String> {
    (facts.separators > 0 && facts.blank_line_ends > 0).then(|| {
        format!(
            "documents end at the EOS text, which occurs {} times, and {} of them at a blank line: \
             data.documents = \"eos\" ends them at the EOS only",
            facts.separators, facts.blank_line_ends
        )
    })
}

/// Warns that the column names of a table may be its first row.
fn about_heading(names: &[String], fields: &Fields) -> Option<String> {
    if names.iter().any(|name| fields.has_name(name)) {
        return None;
    }
    let shown = names.iter().take(SHOWN_NAMES.0).map(|name| {
        let start: String = name.chars().take(SHOWN_NAMES.1).collect();
        let more = if start.len() < name.len() { "…" } else { "" };
        format!("{:?}", format!("{start}{more}"))
    });
    let shown = shown.collect::<Vec<_>>().join(", ");
    let name_them = "name the columns, as in data.columns = [\"prompt\", \"completion\"]";
    Some(if names.iter().any(|name| looks_like_data(name)) {
        format!(
            "the first line was read as column names but looks like a row ({shown}): if it is a \
             row, {name_them}"
        )
    } else {
        format!(
            "none of the columns ({shown}) is a known field: name the fields, as in \
             data.fields.prompt = {:?}; or, if the first line is a row, {name_them}",
            names.first().map_or("", String::as_str)
        )
    })
}

/// Whether a name looks like the content of a row.
fn looks_like_data(name: &str) -> bool {
    name.chars().count() > LONGEST_NAME
        || name.contains('\n')
        || name.split_whitespace().count() >= ROW_WORDS
        || name.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_row_is_distinguished_from_a_heading() {
        let said = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            about_heading(&names, &Fields::default())
        };
        for row in [
            &["the film was one of the best", "positive"][..],
            &["good", "1"],
            &["two\nlines", "x"],
            &["word".repeat(20).as_str(), "x"],
        ] {
            let words = said(row).unwrap();
            assert!(words.contains("looks like a row"), "{words}");
        }
        let words = said(&["question", "reply"]).unwrap();
        assert!(
            words.starts_with("none of the columns (\"question\", \"reply\")"),
            "{words}"
        );
        for heading in [
            &["prompt", "a long name of a column that nobody reads"][..],
            &["", "prompt_ids"],
            &["text", "1"],
        ] {
            assert_eq!(said(heading), None);
        }
        let long = said(&["x".repeat(100).as_str()]).unwrap();
        assert!(long.len() < 250, "{long}");
    }
}
