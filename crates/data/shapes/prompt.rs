//! Prompts alone.

use super::{Said, Shape, Writer, Written, has};
use crate::{Result, Row};

impl Writer {
    /// The prompt of a row, which may be one that its pair implies, or its only text.
    pub(crate) fn prompt(&self, row: &Row) -> Result<Written> {
        let fields = &self.fields;
        if !has(row, &fields.prompt) {
            if Shape::of(row, fields) == Some(Shape::ImplicitPreference) {
                let pair = self.implicit_pair(row)?;
                return Ok(Written {
                    answers: Vec::new(),
                    said: Vec::new(),
                    ..pair
                });
            }
            if row.fields.len() == 1 && has(row, &fields.text) {
                let text = self.must(row, &fields.text)?;
                return self.join(row, self.with_suffix(row, text)?, Vec::new());
            }
        }
        self.join(row, self.prompt_of(row)?, Vec::new())
    }

    /// The field that is the prompt, with what belongs to it.
    pub(super) fn prompt_of(&self, row: &Row) -> Result<Said> {
        let prompt = self.must(row, &self.fields.prompt)?;
        self.with_suffix(row, prompt)
    }

    /// A prompt that is a string, with the row's input behind it. An input that is no string is an
    /// error, as it is of a prompt: a number has no one way to be written.
    fn with_suffix(&self, row: &Row, prompt: Said) -> Result<Said> {
        let Said::Text(mut text) = prompt else {
            return Ok(prompt);
        };
        if let Some(input) = row.text(&self.fields.input)?
            && !input.is_empty()
        {
            text.push('\n');
            text.push_str(input);
        }
        text.push_str(&self.fields.separator);
        Ok(Said::Text(text))
    }
}
