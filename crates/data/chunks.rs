//! Chunks of documents, tokenized once and kept in a temporary file.

use crate::Result;
use crate::item::Item;
use crate::row_store::temp_file_error;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};

/// The tokens of the chunks.
#[derive(Debug)]
pub(crate) struct ChunkFile {
    file: File,
    /// The byte at which each chunk starts: one prompt token, then the response's tokens.
    starts: Vec<u64>,
}

/// Writes the tokens of chunks to a temporary file.
#[derive(Default)]
pub(crate) struct ChunkWriter {
    file: Option<BufWriter<File>>,
    starts: Vec<u64>,
    end: u64,
}

impl ChunkWriter {
    pub(crate) fn add(&mut self, item: &Item) -> Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            None => {
                let file = tempfile::tempfile().map_err(temp_file_error)?;
                self.file.insert(BufWriter::new(file))
            }
        };
        self.starts.push(self.end);
        for id in item.prompt.ids.iter().chain(&item.responses[0].ids) {
            file.write_all(&id.to_le_bytes()).map_err(temp_file_error)?;
            self.end += 4;
        }
        Ok(())
    }

    pub(crate) fn finish(self, items: usize) -> Result<Option<ChunkFile>> {
        let Some(file) = self.file else {
            return Ok(None);
        };
        debug_assert_eq!(
            items,
            self.starts.len(),
            "all rows of a data set have the same shape"
        );
        let file = file.into_inner();
        Ok(Some(ChunkFile {
            file: file.map_err(|error| temp_file_error(error.into_error()))?,
            starts: self.starts,
        }))
    }
}

impl ChunkFile {
    /// The tokens of a chunk with this cost: the network reads all but the last.
    pub(crate) fn read(&mut self, item: usize, cost: u32) -> Result<Vec<u32>> {
        let mut bytes = vec![0; 4 * (cost as usize + 1)];
        let start = SeekFrom::Start(self.starts[item]);
        self.file.seek(start).map_err(temp_file_error)?;
        self.file.read_exact(&mut bytes).map_err(temp_file_error)?;
        let words = bytes.chunks_exact(4);
        let word = |word: &[u8]| u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        Ok(words.map(word).collect())
    }
}
