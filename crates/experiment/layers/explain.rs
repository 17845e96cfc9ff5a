//! Error messages about settings: the key, where it was given, and the nearest known name.

use super::Layers;
use super::renamed::old_names;
use anyhow::anyhow;
use std::fmt::Write;
use std::path::Path;

impl Layers {
    /// Turns an error of serde into one with the key, where it was given, and a suggestion.
    pub(super) fn explain(&self, path: &str, message: &str) -> anyhow::Error {
        let message = without_rust_types(message.trim());
        let message = message.as_str();
        let mut quoted = message.split('`').skip(1).step_by(2);
        let unknown = message.starts_with("unknown");
        let name = quoted.next().unwrap_or_default();
        let key = match message.starts_with("unknown field") {
            true if path.is_empty() || path == name => name.to_string(),
            true if !path.ends_with(&format!(".{name}")) => format!("{path}.{name}"),
            _ => path.to_string(),
        };
        let mut text = self.location(&key);
        let _ = if message.starts_with("unknown field") {
            write!(text, "unknown key `{key}`")
        } else {
            write!(text, "`{key}`: {message}")
        };
        if unknown {
            let near = quoted
                .map(|known| (strsim::normalized_damerau_levenshtein(name, known), known))
                .max_by(|a, b| a.0.total_cmp(&b.0));
            if let Some((_, known)) = near.filter(|(similarity, _)| *similarity > 0.5) {
                let _ = write!(text, "; did you mean `{known}`?");
            } else if let Some((_, expected)) = message.split_once(", expected ")
                && message.starts_with("unknown field")
            {
                let _ = write!(text, "; expected {expected}");
            }
        }
        anyhow!(text)
    }

    /// Where a key was given: "file:line: ", "--set …: ", or nothing.
    pub(super) fn location(&self, key: &str) -> String {
        let objective = self.objective_name();
        let old = || old_names(key, objective).find_map(|name| self.location_of_name(name));
        self.location_of_name(key).or_else(old).unwrap_or_else(|| {
            let file = self.file.as_ref();
            file.map_or_else(String::new, |file| format!("{}: ", file.path.display()))
        })
    }

    /// Where a key was given under this name.
    fn location_of_name(&self, key: &str) -> Option<String> {
        let below = |a: &str, b: &str| a.starts_with(&format!("{b}."));
        let starts = |path: &str| key == path || below(key, path) || below(path, key);
        if let Some(set) = self
            .sets
            .iter()
            .rev()
            .find(|set| starts(&set.path.join(".")))
        {
            return Some(format!("{}: ", set.typed));
        }
        let file = self.file.as_ref()?;
        let line = line(&file.text, key)?;
        Some(format!("{}:{line}: ", file.path.display()))
    }
}

/// A syntax error in a TOML file, with its line.
pub(super) fn syntax_error(path: &Path, text: &str, error: &toml::de::Error) -> anyhow::Error {
    let line = error.span().map_or(1, |span| {
        text[..span.start.min(text.len())].matches('\n').count() + 1
    });
    anyhow!(
        "{}:{line}: not valid TOML: {}",
        path.display(),
        error.message()
    )
}

/// Replaces the names of Rust types in an error of serde by plain words.
fn without_rust_types(message: &str) -> String {
    let Some((problem, expected)) = message.split_once(", expected ") else {
        return message.into();
    };
    let expected = match expected {
        "usize" | "u64" | "u32" => "a whole number from 0",
        "i64" => "a whole number",
        "f64" => "a number",
        "a boolean" => "true or false",
        "path string" => "a path",
        _ if expected.starts_with("struct ") || expected == "a map" => "a section of settings",
        _ => expected,
    };
    format!("{problem}, expected {expected}")
}

/// The line of a key in a TOML document, counted from 1.
fn line(text: &str, key: &str) -> Option<usize> {
    let mut table = toml::de::DeTable::parse(text).ok()?.into_inner();
    let mut start = None;
    for part in key.split('.') {
        let (name, value) = table.into_iter().find(|(name, _)| name.get_ref() == part)?;
        start = Some(name.span().start);
        match value.into_inner() {
            toml::de::DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    Some(text[..start?].matches('\n').count() + 1)
}
