//! Parses prompts.

use super::{FieldValue, ParsedRow, RowParser, Shape, has};
use crate::{Result, Row};

impl RowParser {
    /// The prompt of a row, which may be the common prefix of its pair, or its only text.
    pub(crate) fn prompt(&self, row: &Row) -> Result<ParsedRow> {
        let fields = &self.fields;
        if !has(row, &fields.prompt) {
            if Shape::of(row, fields) == Some(Shape::ImplicitPreference) {
                let pair = self.implicit_pair(row)?;
                return Ok(ParsedRow {
                    answers: Vec::new(),
                    contents: Vec::new(),
                    ..pair
                });
            }
            if row.fields.len() == 1 && has(row, &fields.text) {
                let text = self.required(row, &fields.text)?;
                return self.join(row, self.with_input(row, text)?, Vec::new());
            }
        }
        self.join(row, self.prompt_of(row)?, Vec::new())
    }

    /// The prompt field, with the input and the separator appended.
    pub(super) fn prompt_of(&self, row: &Row) -> Result<FieldValue> {
        let prompt = self.required(row, &self.fields.prompt)?;
        self.with_input(row, prompt)
    }

    /// Appends the row's input and the separator to a prompt that is a string. An input that is not
    /// a string is an error, as for a prompt: there are several ways to write a number.
    fn with_input(&self, row: &Row, prompt: FieldValue) -> Result<FieldValue> {
        let FieldValue::Text(mut text) = prompt else {
            return Ok(prompt);
        };
        if let Some(input) = row.text(&self.fields.input)?
            && !input.is_empty()
        {
            text.push('\n');
            text.push_str(input);
        }
        text.push_str(&self.fields.separator);
        Ok(FieldValue::Text(text))
    }
}
