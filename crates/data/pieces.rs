//! Pieces of documents, tokenized once and kept in a temporary file.

use crate::Result;
use crate::item::Item;
use crate::row_store::temporary;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};

/// The tokens of documents' pieces.
#[derive(Debug)]
pub(crate) struct Documents {
    file: File,
    /// Where each piece starts: its prompt's one token, then the response's.
    starts: Vec<u64>,
}

/// The tokens of pieces on their way to the temporary file.
#[derive(Default)]
pub(crate) struct Spool {
    file: Option<BufWriter<File>>,
    starts: Vec<u64>,
    end: u64,
}

impl Spool {
    pub(crate) fn add(&mut self, item: &Item) -> Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let file = tempfile::tempfile().map_err(temporary)?;
                self.file.insert(BufWriter::new(file))
            }
        };
        self.starts.push(self.end);
        for id in item.prompt.ids.iter().chain(&item.responses[0].ids) {
            file.write_all(&id.to_le_bytes()).map_err(temporary)?;
            self.end += 4;
        }
        Ok(())
    }

    pub(crate) fn finish(self, items: usize) -> Result<Option<Documents>> {
        let Some(file) = self.file else {
            return Ok(None);
        };
        debug_assert_eq!(items, self.starts.len(), "a data set has one shape");
        let file = file.into_inner();
        Ok(Some(Documents {
            file: file.map_err(|error| temporary(error.into_error()))?,
            starts: self.starts,
        }))
    }
}

impl Documents {
    /// The tokens of a piece that costs so many: all but the last are read.
    pub(crate) fn read(&mut self, item: usize, cost: u32) -> Result<Vec<u32>> {
        let mut bytes = vec![0; 4 * (cost as usize + 1)];
        let start = SeekFrom::Start(self.starts[item]);
        self.file.seek(start).map_err(temporary)?;
        self.file.read_exact(&mut bytes).map_err(temporary)?;
        let words = bytes.chunks_exact(4);
        let word = |word: &[u8]| u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        Ok(words.map(word).collect())
    }
}
