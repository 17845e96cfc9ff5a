//! Parses prompts with completions.

use super::{ParsedRow, RowParser};
use crate::{Result, Row};

impl RowParser {
    /// A prompt and its completion.
    pub(crate) fn completion(&self, row: &Row) -> Result<ParsedRow> {
        let completion = self.required(row, &self.fields.completion)?;
        self.join(row, self.prompt_of(row)?, vec![completion])
    }
}
