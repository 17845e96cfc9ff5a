//! Prompts and completions.

use super::{Writer, Written};
use crate::{Result, Row};

impl Writer {
    /// A prompt and its completion.
    pub(crate) fn completion(&self, row: &Row) -> Result<Written> {
        let completion = self.must(row, &self.fields.completion)?;
        self.join(row, self.prompt_of(row)?, vec![completion])
    }
}
