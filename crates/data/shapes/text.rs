//! Whole documents.

use super::{Piece, Said, Writer, Written, has};
use crate::{Result, Row};

impl Writer {
    /// A document, or a conversation as the chat template writes it.
    pub(crate) fn text(&self, row: &Row) -> Result<Written> {
        let fields = &self.fields;
        let name = match has(row, &fields.text) {
            true => &fields.text,
            false => &fields.messages,
        };
        let (piece, turns) = match self.must(row, name)? {
            Said::Ids(ids) => (Piece::Ids(ids), 0),
            Said::Text(text) => (Piece::Text(text), 0),
            Said::Chat(messages) => {
                let text = self.chat.render(row, &messages)?;
                (Piece::Rendered(text), messages.len())
            }
        };
        Ok(Written {
            answers: vec![piece],
            turns,
            ..Written::default()
        })
    }
}
