//! A data set whose items are read when a step asks for them.

use crate::reader::{Item, together};
use crate::store::temporary;
use crate::{Error, Reader, Result, Row, Store, Wanted};
use rlhf_objective::{Items, Prompt, Response, Sequences};
use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// How many rows are read at once when all are gone through.
const AT_ONCE: usize = 1024;

/// A store that the training and the held-out part share.
pub type SharedStore = Arc<Mutex<Store>>;

/// Items of a store, in order. All rows are read and tokenized once when it is made, so that what is
/// wrong with one is said before anything is trained; then 12 bytes an item stay in memory. An item is
/// read and tokenized again when a step asks for it, except pieces of documents, whose tokens are kept
/// in a temporary file, 4 bytes a token.
#[derive(Debug)]
pub struct Corpus {
    store: SharedStore,
    reader: Reader,
    wanted: Wanted,
    /// The row of each item, and which of the row's items it is.
    rows: Vec<(u32, u32)>,
    /// What each costs.
    costs: Vec<u32>,
    /// Response tokens, and responses, of all together.
    predicted: u64,
    responses: usize,
    documents: Option<Documents>,
}

/// The tokens of documents' pieces.
#[derive(Debug)]
struct Documents {
    file: File,
    /// Where each piece starts: its prompt's one token, then the response's.
    starts: Vec<u64>,
}

impl Corpus {
    /// The items of these rows. What is done to them is noted in `reader`.
    ///
    /// # Errors
    /// If a row cannot be used, and is not to be skipped.
    pub fn new(
        store: &SharedStore,
        numbers: &[u32],
        reader: &mut Reader,
        wanted: Wanted,
    ) -> Result<Self> {
        let mut corpus = Self {
            store: store.clone(),
            reader: reader.fresh(),
            wanted,
            rows: Vec::new(),
            costs: Vec::new(),
            predicted: 0,
            responses: 0,
            documents: None,
        };
        let mut spool = Spool::default();
        for numbers in numbers.chunks(AT_ONCE) {
            let rows = corpus.fetch(numbers)?;
            let all = reader.items(&rows, wanted)?;
            for (number, items) in numbers.iter().zip(all) {
                for (item, index) in items.iter().zip(0..) {
                    corpus.rows.push((*number, index));
                    corpus.costs.push(cost(item)?);
                    let lengths = item
                        .responses
                        .iter()
                        .map(|response| response.ids.len() as u64);
                    corpus.predicted += lengths.sum::<u64>();
                    corpus.responses += item.responses.len();
                    if wanted == Wanted::Demonstrations && is_piece(item) {
                        spool.add(item)?;
                    }
                }
            }
        }
        corpus.documents = spool.finish(corpus.rows.len())?;
        // The shape that all rows must have is known from the first.
        corpus.reader = reader.fresh();
        Ok(corpus)
    }

    /// All items at once, for a loss that compares each with all others; `at_once` are read together.
    /// Only tokens stay, and the fields that are not among them: 4 bytes a token and some 300 an item.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn all(&mut self, at_once: usize) -> Result<Sequences> {
        let fields = self.reader.settings().fields.clone();
        let mut all = Vec::with_capacity(self.rows.len());
        let items: Vec<usize> = (0..self.rows.len()).collect();
        for items in items.chunks(at_once.max(1)) {
            for mut item in self.collect(items)? {
                item.prompt.text = String::new();
                item.prompt.fields.retain(|name, _| !fields.is_read(name));
                for response in &mut item.responses {
                    response.text = String::new();
                }
                all.push(item);
            }
        }
        together(all.into_iter())
    }

    /// All answers at once, as [`all`](Self::all), and whether each was liked: as its row's label says,
    /// or as the chosen one of a pair was and the rejected one was not.
    ///
    /// # Errors
    /// As there.
    pub fn opinions(&mut self, at_once: usize) -> Result<(Sequences, Vec<bool>)> {
        let all = self.all(at_once)?;
        let label = &self.reader.settings().fields.label;
        let liked = (0..all.len()).map(|index| match self.wanted {
            Wanted::Pairs => Ok(index % 2 == 0),
            _ => Row {
                path: std::path::Path::new("the data").into(),
                line: index + 1,
                fields: all.prompt_of(index).fields.clone(),
            }
            .label(label),
        });
        let liked = liked.collect::<Result<_>>()?;
        Ok((all, liked))
    }

    /// How many responses all items have together.
    #[must_use]
    pub fn responses(&self) -> usize {
        self.responses
    }

    /// How many tokens a network reads for all items, and how many it predicts.
    #[must_use]
    pub fn tokens(&self) -> (u64, u64) {
        (
            self.costs.iter().map(|cost| u64::from(*cost)).sum(),
            self.predicted,
        )
    }

    fn fetch(&self, numbers: &[u32]) -> Result<Vec<Row>> {
        let store = self.store.lock();
        store.unwrap_or_else(PoisonError::into_inner).rows(numbers)
    }

    fn collect(&mut self, items: &[usize]) -> Result<Vec<Item>> {
        if let Some(documents) = &mut self.documents {
            let vocabulary = &self.reader.settings().vocabulary;
            let mut pieces = Vec::with_capacity(items.len());
            for &item in items {
                let ids = documents.read(item, self.costs[item])?;
                let response = ids[1..].to_vec();
                let finish = vocabulary.finish(&response);
                pieces.push(Item {
                    prompt: Prompt::from_ids(vec![ids[0]]),
                    responses: vec![Response::new(0, response, finish)],
                });
            }
            return Ok(pieces);
        }
        let numbers: Vec<u32> = items.iter().map(|item| self.rows[*item].0).collect();
        let rows = self.fetch(&numbers)?;
        let read = self.reader.fresh().items(&rows, self.wanted)?;
        let mut chosen = Vec::with_capacity(items.len());
        for ((of_row, &item), row) in read.into_iter().zip(items).zip(&rows) {
            let found = of_row.into_iter().nth(self.rows[item].1 as usize);
            match found {
                Some(found) if cost(&found)? == self.costs[item] => chosen.push(found),
                _ => return Err(row.error("the row was changed while it was in use: start again")),
            }
        }
        Ok(chosen)
    }
}

impl Items for Corpus {
    fn count(&self) -> usize {
        self.rows.len()
    }

    fn cost(&self, item: usize) -> usize {
        self.costs[item] as usize
    }

    fn read(&mut self, items: &[usize]) -> rlhf_objective::Result<Sequences> {
        let items = self.collect(items).map_err(rlhf_objective::Error::other)?;
        together(items.into_iter()).map_err(rlhf_objective::Error::other)
    }
}

/// The tokens a network reads for an item: the last of a response is predicted but not read.
fn cost(item: &Item) -> Result<u32> {
    let responses = item.responses.iter().map(|response| response.ids.len() - 1);
    let tokens = item.prompt.ids.len() + responses.sum::<usize>();
    let message = "an item of more than 4 billion tokens";
    u32::try_from(tokens)
        .map_err(|_| Error::Objective(rlhf_objective::Error::Empty(message.into())))
}

/// Whether it is a document's: its prompt is one token without text.
fn is_piece(item: &Item) -> bool {
    item.prompt.ids.len() == 1 && item.prompt.fields.is_empty()
}

/// The tokens of pieces on their way to the temporary file.
#[derive(Default)]
struct Spool {
    file: Option<BufWriter<File>>,
    starts: Vec<u64>,
    end: u64,
}

impl Spool {
    fn add(&mut self, item: &Item) -> Result<()> {
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

    fn finish(self, items: usize) -> Result<Option<Documents>> {
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
    fn read(&mut self, item: usize, cost: u32) -> Result<Vec<u32>> {
        let mut bytes = vec![0; 4 * (cost as usize + 1)];
        let start = SeekFrom::Start(self.starts[item]);
        self.file.seek(start).map_err(temporary)?;
        self.file.read_exact(&mut bytes).map_err(temporary)?;
        let words = bytes.chunks_exact(4);
        let word = |word: &[u8]| u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        Ok(words.map(word).collect())
    }
}
