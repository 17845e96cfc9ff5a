//! What is worth saying of a file, whether it is looked at or trained on.

use crate::Fields;
use crate::formats::Facts;
use std::path::Path;

/// More characters than this are no name of a column.
const LONGEST_NAME: usize = 60;

/// As many words are no name of a column.
const WORDS: usize = 5;

/// How many names are shown, and how much of each.
const SHOWN: (usize, usize) = (3, 30);

/// What there is to say of a file.
pub(crate) fn of(path: &Path, facts: &Facts, fields: &Fields) -> Vec<String> {
    let heading = facts.heading.as_deref();
    let heading = heading.and_then(|names| of_heading(names, fields));
    let said = heading.into_iter().chain(of_separators(facts));
    said.map(|what| format!("{}: {what}", path.display()))
        .collect()
}

/// That documents end at EOS texts and at blank lines, where one of the two may not be meant.
fn of_separators(facts: &Facts) -> Option<String> {
    (facts.separators > 0 && facts.breaks > 0).then(|| {
        format!(
            "documents end at the EOS text, which stands there {} times, and {} of them at a blank line: \
             data.documents = \"eos\" ends them at the EOS alone",
            facts.separators, facts.breaks
        )
    })
}

/// That the names of a table's columns may be its first row.
fn of_heading(names: &[String], fields: &Fields) -> Option<String> {
    if names.iter().any(|name| fields.has_name(name)) {
        return None;
    }
    let shown = names.iter().take(SHOWN.0).map(|name| {
        let start: String = name.chars().take(SHOWN.1).collect();
        let more = if start.len() < name.len() { "…" } else { "" };
        format!("{:?}", format!("{start}{more}"))
    });
    let shown = shown.collect::<Vec<_>>().join(", ");
    let name_them = "name the columns, as in data.columns = [\"prompt\", \"completion\"]";
    Some(match names.iter().any(|name| is_data(name)) {
        true => format!(
            "its first line was taken for the names of its columns, and looks like a row ({shown}): if it is \
             one, {name_them}"
        ),
        false => format!(
            "none of its columns ({shown}) is a field that is read: say which are, as in \
             data.fields.prompt = {:?}; or, if the first line is a row, {name_them}",
            names.first().map_or("", String::as_str)
        ),
    })
}

/// Whether a name looks like something that a row says.
fn is_data(name: &str) -> bool {
    name.chars().count() > LONGEST_NAME
        || name.contains('\n')
        || name.split_whitespace().count() >= WORDS
        || name.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_row_is_told_from_a_heading() {
        let said = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            of_heading(&names, &Fields::default())
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
            words.starts_with("none of its columns (\"question\", \"reply\")"),
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
