//! Parses whole documents.

use super::{FieldValue, ParsedRow, RowParser, Segment, has};
use crate::{Result, Row};

impl RowParser {
    /// A document, or a conversation rendered by the chat template.
    pub(crate) fn text(&self, row: &Row) -> Result<ParsedRow> {
        let fields = &self.fields;
        let name = if has(row, &fields.text) {
            &fields.text
        } else {
            &fields.messages
        };
        let (segment, turns) = match self.required(row, name)? {
            FieldValue::Ids(ids) => (Segment::Ids(ids), 0),
            FieldValue::Text(text) => (Segment::Text(text), 0),
            FieldValue::Chat(messages) => {
                let text = self.chat.render(row, &messages)?;
                (Segment::Rendered(text), messages.len())
            }
        };
        Ok(ParsedRow {
            answers: vec![segment],
            turns,
            ..ParsedRow::default()
        })
    }
}
