//! A data set whose rows are read and tokenized at the step that uses them.

use crate::chunks::{ChunkFile, ChunkWriter};
use crate::item::Item;
use crate::reader::{to_sequences, with_labels};
use crate::{Error, ItemKind, Limits, Notes, PromptLengths, Reader, Result, Row, RowStore};
use rlhf_objective::{Dataset, Prompt, Response, Sequences};
use std::sync::{Arc, Mutex, PoisonError};

/// The number of rows read at once when all rows are read.
const ROWS_PER_READ: usize = 1024;

/// Rows that exceed this total are not all tokenized before the first step: at about 4 MB a second
/// that would take more than half a minute.
const TOKENIZE_AHEAD_BYTES: u64 = 128 << 20;

/// The number of rows sampled from such a data set.
const SAMPLE_ROWS: usize = 4096;

/// A row store shared by the training and the held-out part.
pub type SharedRowStore = Arc<Mutex<RowStore>>;

/// Notes on the rows that steps have read.
pub type SharedNotes = Arc<Mutex<Notes>>;

/// Items of a row store, in order, read and tokenized at the step that uses them. About 12 bytes an
/// item stay in memory.
///
/// Up to 128 MiB of rows are read and tokenized once on construction, so that a bad row is reported
/// before training and every item is known; the tokens of document chunks are kept in a temporary
/// file, 4 bytes a token. Of a larger data set only a sample is read in advance. Then an item is a
/// row, with all chunks of its document or all pairs of its responses; costs are estimated from
/// bytes; and a row without items (identical answers, or a bad row that is skipped) is replaced by
/// the next row that has some.
#[derive(Debug)]
pub struct StreamingDataset {
    store: SharedRowStore,
    reader: Reader,
    kind: ItemKind,
    index: Index,
    /// Sums over all rows, or over the sample.
    totals: Totals,
    step_notes: SharedNotes,
}

/// What is known of the items before a step reads them.
#[derive(Debug)]
enum Index {
    /// All items are known.
    Items {
        /// The row of each item, and its index among the items of that row.
        rows: Vec<(u32, u32)>,
        /// The tokens that a network reads for each item.
        costs: Vec<u32>,
        chunks: Option<ChunkFile>,
    },
    /// Only the rows are known.
    Rows(Vec<u32>),
}

/// Sums over rows that were read.
#[derive(Debug, Default)]
struct Totals {
    rows: usize,
    bytes: u64,
    items: usize,
    /// Tokens that a network reads, and tokens that it predicts.
    read: u64,
    predicted: u64,
    responses: usize,
    prompt_lengths: Option<PromptLengths>,
}

impl StreamingDataset {
    /// The items of these rows. Changes and skips are noted in `reader`.
    ///
    /// # Errors
    /// If a row cannot be used and is not to be skipped.
    pub fn new(
        store: &SharedRowStore,
        numbers: &[u32],
        reader: &mut Reader,
        kind: ItemKind,
    ) -> Result<Self> {
        Self::with_budget(store, numbers, reader, kind, TOKENIZE_AHEAD_BYTES)
    }

    /// As [`new`](Self::new), tokenizing up to this many bytes in advance.
    pub(crate) fn with_budget(
        store: &SharedRowStore,
        numbers: &[u32],
        reader: &mut Reader,
        kind: ItemKind,
        bytes: u64,
    ) -> Result<Self> {
        let mut dataset = Self {
            store: store.clone(),
            reader: reader.unchecked(),
            kind,
            index: Index::Rows(numbers.to_vec()),
            totals: Totals::default(),
            step_notes: SharedNotes::default(),
        };
        if dataset.bytes(numbers) > bytes {
            dataset.sample(numbers, reader)?
        } else {
            dataset.read_all(numbers, reader)?
        }
        // The reader now knows the shape that all rows must have.
        dataset.reader = reader.unchecked();
        Ok(dataset)
    }

    fn bytes(&self, numbers: &[u32]) -> u64 {
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.iter().map(|number| store.bytes(*number)).sum()
    }

    fn read_all(&mut self, numbers: &[u32], reader: &mut Reader) -> Result<()> {
        let (mut rows, mut costs) = (Vec::new(), Vec::new());
        let mut writer = ChunkWriter::default();
        let may_be_chunks = self.kind == ItemKind::Demonstrations;
        self.read_rows(numbers, reader, |number, items| {
            for (item, index) in items.iter().zip(0..) {
                rows.push((number, index));
                costs.push(cost(item)?);
                if may_be_chunks && is_chunk(item) {
                    writer.add(item)?;
                }
            }
            Ok(())
        })?;
        let chunks = writer.finish(rows.len())?;
        self.index = Index::Items {
            rows,
            costs,
            chunks,
        };
        Ok(())
    }

    /// Samples rows at equal distances, because a file may be sorted.
    fn sample(&mut self, numbers: &[u32], reader: &mut Reader) -> Result<()> {
        let apart = numbers.len().div_ceil(SAMPLE_ROWS).max(1);
        let sampled: Vec<u32> = numbers.iter().copied().step_by(apart).collect();
        self.read_rows(&sampled, reader, |_, _| Ok(()))
    }

    /// Reads these rows and adds up their totals.
    fn read_rows(
        &mut self,
        numbers: &[u32],
        reader: &mut Reader,
        mut each: impl FnMut(u32, &[Item]) -> Result<()>,
    ) -> Result<()> {
        for numbers in numbers.chunks(ROWS_PER_READ) {
            let rows = self.fetch(numbers)?;
            let all = reader.items(&rows, self.kind)?;
            self.totals.rows += numbers.len();
            self.totals.bytes += self.bytes(numbers);
            for (number, items) in numbers.iter().zip(all) {
                for item in &items {
                    self.totals.add(item, reader.settings().limits)?;
                }
                each(*number, &items)?;
            }
        }
        Ok(())
    }

    /// The number of rows in the sample and in total, if not all rows were read.
    #[must_use]
    pub fn sampled(&self) -> Option<(usize, usize)> {
        match &self.index {
            Index::Items { .. } => None,
            Index::Rows(rows) => Some((self.totals.rows, rows.len())),
        }
    }

    /// The notes of the rows that steps read, if not all rows were read in advance.
    #[must_use]
    pub fn step_notes(&self) -> SharedNotes {
        self.step_notes.clone()
    }

    /// All items at once, for a loss that compares each with all others; `at_once` rows are read
    /// together. Only tokens and the fields that are not text stay in memory: 4 bytes a token and
    /// about 300 an item.
    ///
    /// # Errors
    /// If a row cannot be read.
    pub fn all(&mut self, at_once: usize) -> Result<Sequences> {
        to_sequences(self.all_items(at_once)?.into_iter())
    }

    /// As [`all`](Self::all), with whether each response is desirable: by the label of its row; in
    /// a pair, the chosen one is and the rejected one is not.
    ///
    /// # Errors
    /// As [`all`](Self::all).
    pub fn all_with_labels(&mut self, at_once: usize) -> Result<(Sequences, Vec<bool>)> {
        with_labels(self.all_items(at_once)?)
    }

    fn all_items(&mut self, at_once: usize) -> Result<Vec<Item>> {
        let fields = self.reader.settings().fields.clone();
        let mut all = Vec::with_capacity(self.count());
        let items: Vec<usize> = (0..self.count()).collect();
        for items in items.chunks(at_once.max(1)) {
            let read = match &self.index {
                Index::Items { .. } => vec![self.collect(items)?],
                // Here a row without items is not replaced.
                Index::Rows(rows) => self.read_unseen(&rows[items[0]..=items[items.len() - 1]])?,
            };
            for mut item in read.into_iter().flatten() {
                item.prompt.text = String::new();
                item.prompt.fields.retain(|name, _| !fields.is_read(name));
                for response in &mut item.responses {
                    response.text = String::new();
                }
                all.push(item);
            }
        }
        Ok(all)
    }

    /// The number of responses of all items; an estimate if not all rows were read.
    #[must_use]
    pub fn responses(&self) -> usize {
        self.estimate(self.totals.responses as u64) as usize
    }

    /// The lengths of the prompts that were read and the room they leave for responses; none if
    /// there was no prompt.
    #[must_use]
    pub fn prompt_lengths(&self) -> Option<PromptLengths> {
        self.totals.prompt_lengths
    }

    /// The number of tokens that a network reads for all items, and that it predicts; estimates if
    /// not all rows were read.
    #[must_use]
    pub fn tokens(&self) -> (u64, u64) {
        (
            self.estimate(self.totals.read),
            self.estimate(self.totals.predicted),
        )
    }

    /// Extrapolates a sum over the rows that were read to all rows.
    fn estimate(&self, sum: u64) -> u64 {
        match self.sampled() {
            Some((seen, all)) => (sum as f64 * all as f64 / seen.max(1) as f64).round() as u64,
            None => sum,
        }
    }

    fn fetch(&self, numbers: &[u32]) -> Result<Vec<Row>> {
        let store = self.store.lock();
        store.unwrap_or_else(PoisonError::into_inner).rows(numbers)
    }

    fn collect(&mut self, items: &[usize]) -> Result<Vec<Item>> {
        if let Index::Items {
            costs,
            chunks: Some(chunks),
            ..
        } = &mut self.index
        {
            let vocabulary = &self.reader.settings().vocabulary;
            let chunk = |&item: &usize| {
                let ids = chunks.read(item, costs[item])?;
                let response = ids[1..].to_vec();
                let finish = vocabulary.finish(&response);
                Ok(Item {
                    prompt: Prompt::from_ids(vec![ids[0]]),
                    responses: vec![Response::new(0, response, finish)],
                    desirable: None,
                })
            };
            return items.iter().map(chunk).collect();
        }
        match &self.index {
            Index::Items { rows, costs, .. } => self.reread(items, rows, costs),
            Index::Rows(rows) => self.read_or_next(items, rows),
        }
    }

    /// Reads items again, given their rows and costs.
    fn reread(&self, items: &[usize], rows: &[(u32, u32)], costs: &[u32]) -> Result<Vec<Item>> {
        let numbers: Vec<u32> = items.iter().map(|item| rows[*item].0).collect();
        let read = self.fetch(&numbers)?;
        let found = self.reader.unchecked().items(&read, self.kind)?;
        let mut chosen = Vec::with_capacity(items.len());
        for ((of_row, &item), row) in found.into_iter().zip(items).zip(&read) {
            match of_row.into_iter().nth(rows[item].1 as usize) {
                Some(found) if cost(&found)? == costs[item] => chosen.push(found),
                _ => return Err(row.error("the row was changed while it was in use. Start again")),
            }
        }
        Ok(chosen)
    }

    /// The items of each of these rows, not read before.
    fn read_unseen(&self, numbers: &[u32]) -> Result<Vec<Vec<Item>>> {
        let mut reader = self.reader.unchecked();
        let found = reader.items(&self.fetch(numbers)?, self.kind)?;
        let mut later = self
            .step_notes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        later.absorb(reader.notes);
        Ok(found)
    }

    /// The items of rows not read before; a row without items is replaced by the next row that has
    /// some.
    fn read_or_next(&self, items: &[usize], rows: &[u32]) -> Result<Vec<Item>> {
        let numbers: Vec<u32> = items.iter().map(|item| rows[*item]).collect();
        let mut all = Vec::with_capacity(items.len());
        for (mut found, &item) in self.read_unseen(&numbers)?.into_iter().zip(items) {
            let after = rows[item + 1..].iter().chain(&rows[..item]);
            for &next in after {
                if !found.is_empty() {
                    break;
                }
                found = self.read_unseen(&[next])?.into_iter().flatten().collect();
            }
            all.extend(found);
        }
        Ok(all)
    }
}

impl Totals {
    fn add(&mut self, item: &Item, limits: Limits) -> Result<()> {
        let prompt = item.prompt.ids.len();
        let prompt_lengths = self
            .prompt_lengths
            .map(|prompt_lengths| prompt_lengths.with(prompt));
        self.prompt_lengths =
            Some(prompt_lengths.unwrap_or_else(|| PromptLengths::new(limits, prompt)));
        let lengths = item.responses.iter();
        self.items += 1;
        self.read += u64::from(cost(item)?);
        self.predicted += lengths
            .map(|response| response.ids.len() as u64)
            .sum::<u64>();
        self.responses += item.responses.len();
        Ok(())
    }
}

impl Dataset for StreamingDataset {
    fn count(&self) -> usize {
        match &self.index {
            Index::Items { rows, .. } => rows.len(),
            // No row of the sample could be used: there is nothing to train on.
            Index::Rows(_) if self.totals.items == 0 => 0,
            Index::Rows(rows) => rows.len(),
        }
    }

    fn cost(&self, item: usize) -> usize {
        match &self.index {
            Index::Items { costs, .. } => costs[item] as usize,
            Index::Rows(rows) => {
                let bytes = self.bytes(&rows[item..=item]) as f64;
                let tokens = bytes * self.totals.read as f64 / self.totals.bytes.max(1) as f64;
                (tokens.round() as usize).max(1)
            }
        }
    }

    fn read(&mut self, items: &[usize]) -> rlhf_objective::Result<Sequences> {
        let items = self.collect(items).map_err(rlhf_objective::Error::other)?;
        to_sequences(items.into_iter()).map_err(rlhf_objective::Error::other)
    }
}

/// The tokens that a network reads for an item: the last token of a response is predicted but not
/// read.
fn cost(item: &Item) -> Result<u32> {
    let responses = item.responses.iter().map(|response| response.ids.len() - 1);
    let tokens = item.prompt.ids.len() + responses.sum::<usize>();
    let message = "an item of more than 4 billion tokens";
    u32::try_from(tokens)
        .map_err(|_| Error::Objective(rlhf_objective::Error::Empty(message.into())))
}

/// Whether an item is a document chunk: its prompt is one token without fields.
fn is_chunk(item: &Item) -> bool {
    item.prompt.ids.len() == 1 && item.prompt.fields.is_empty()
}
