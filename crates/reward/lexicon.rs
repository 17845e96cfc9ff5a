//! The rule `lexicon`: the sum of the values of words.

use crate::{Error, Result};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// The values of words.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lexicon(HashMap<String, f64>);

impl Lexicon {
    /// From words and values, case-insensitive.
    ///
    /// # Errors
    /// If a value is not finite.
    pub fn new(words: &BTreeMap<String, f64>) -> Result<Self> {
        if let Some((word, value)) = words
            .iter()
            .find(|(_, value)| !(**value as f32).is_finite())
        {
            let message = format!("lexicon: the value of `{word}` is {value}, not a finite number");
            return Err(Error::Rule(message));
        }
        let lower = words
            .iter()
            .map(|(word, value)| (word.to_lowercase(), *value));
        Ok(Self(lower.collect()))
    }

    /// From a file with a word, a tab and a value on each line; further columns are ignored (the format of
    /// VADER, Hutto & Gilbert 2014). The last value of a repeated word counts.
    ///
    /// # Errors
    /// If the file cannot be read, or a line is malformed.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Io {
            path: path.into(),
            source,
        })?;
        let lines = text.lines().enumerate();
        let words = lines
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(index, line)| entry(path, index + 1, line));
        Ok(Self(words.collect::<Result<_>>()?))
    }

    /// Adds the words of another lexicon, whose values override those of the same word.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// The sum of the values of the words of a text. Words are separated by whitespace and compared in lower
    /// case: as they are if the lexicon contains them (such as `:)`), else without punctuation around them.
    #[must_use]
    pub fn sum(&self, text: &str) -> f64 {
        text.split_whitespace().map(|word| self.value(word)).sum()
    }

    fn value(&self, word: &str) -> f64 {
        let word = word.to_lowercase();
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        let value = self.0.get(&word).or_else(|| self.0.get(bare));
        value.copied().unwrap_or(0.0)
    }
}

fn entry(path: &Path, line: usize, content: &str) -> Result<(String, f64)> {
    let error = |message: String| Error::Line {
        path: path.into(),
        line,
        message,
    };
    let mut columns = content.split('\t');
    let word = columns.next().unwrap_or_default();
    let value = columns
        .next()
        .ok_or_else(|| error("expected a word, a tab and a number".into()))?;
    match value.trim().parse::<f64>() {
        Ok(number) if (number as f32).is_finite() => Ok((word.to_lowercase(), number)),
        _ => Err(error(format!("`{value}` is not a finite number"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_with_and_without_punctuation() {
        let words = [("Good", 2.0), ("bad", -1.5), (":)", 1.0)];
        let words = words.map(|(word, value)| (word.to_string(), value)).into();
        let lexicon = Lexicon::new(&words).unwrap();
        assert_eq!(lexicon.sum("GOOD, \"bad\"; good :) goods"), 3.5);
        assert_eq!(lexicon.sum(""), 0.0);
    }

    #[test]
    fn errors_name_the_line() {
        let path = Path::new("words.txt");
        assert_eq!(
            entry(path, 1, "Fine\t0.8\t0.9").unwrap(),
            ("fine".into(), 0.8)
        );
        let error = entry(path, 7, "fine 0.8").unwrap_err().to_string();
        assert_eq!(error, "words.txt:7: expected a word, a tab and a number");
        let error = entry(path, 8, "fine\tx").unwrap_err().to_string();
        assert_eq!(error, "words.txt:8: `x` is not a finite number");
    }
}
