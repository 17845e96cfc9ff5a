//! A data set whose items are read when a step asks for them.

use crate::item::Item;
use crate::pieces::{Documents, Spool};
use crate::reader::{liked, together};
use crate::{Error, ItemKind, Limits, Notes, PromptLengths, Reader, Result, Row, RowStore};
use rlhf_objective::{Dataset, Prompt, Response, Sequences};
use std::sync::{Arc, Mutex, PoisonError};

/// How many rows are read at once when all are gone through.
const AT_ONCE: usize = 1024;

/// Rows of more bytes than this together are not all tokenized before the first step: at some 4 MB a
/// second, a user would wait for half a minute and more.
const AHEAD: u64 = 128 << 20;

/// How many of such rows are, to know what the others are like.
const SAMPLED: usize = 4096;

/// A store that the training and the held-out part share.
pub type SharedRowStore = Arc<Mutex<RowStore>>;

/// What was noted of the rows that steps have read.
pub type SharedNotes = Arc<Mutex<Notes>>;

/// Items of a store, in order, read and tokenized when a step asks for them. Some 12 bytes an item stay
/// in memory.
///
/// Up to 128 MiB of rows are all read and tokenized once when it is made, so that what is wrong with one
/// is said before anything is trained, and every item is known; the tokens of documents' pieces are kept
/// in a temporary file, 4 bytes a token. Of more rows, a sample is looked at. There a row is an item,
/// with all pieces of its document and all pairs of its responses; costs are estimated from bytes; and
/// where a row turns out to give nothing (its pair is of equal answers, or it is bad and to be skipped),
/// the next one that does stands in for it.
#[derive(Debug)]
pub struct StreamingDataset {
    store: SharedRowStore,
    reader: Reader,
    kind: ItemKind,
    known: Known,
    /// Of all rows, or of the sample.
    seen: Seen,
    step_notes: SharedNotes,
}

/// What is known of the items before a step reads them.
#[derive(Debug)]
enum Known {
    /// Everything.
    All {
        /// The row of each item, and which of the row's items it is.
        rows: Vec<(u32, u32)>,
        /// What each costs.
        costs: Vec<u32>,
        documents: Option<Documents>,
    },
    /// The rows that they are in.
    Rows(Vec<u32>),
}

/// Sums over rows that were read.
#[derive(Debug, Default)]
struct Seen {
    rows: usize,
    bytes: u64,
    items: usize,
    /// Tokens that a network reads, and that it predicts.
    read: u64,
    predicted: u64,
    responses: usize,
    rooms: Option<PromptLengths>,
}

impl StreamingDataset {
    /// The items of these rows. What is done to them is noted in `reader`.
    ///
    /// # Errors
    /// If a row cannot be used, and is not to be skipped.
    pub fn new(
        store: &SharedRowStore,
        numbers: &[u32],
        reader: &mut Reader,
        kind: ItemKind,
    ) -> Result<Self> {
        Self::ahead(store, numbers, reader, kind, AHEAD)
    }

    /// The same, where this many bytes are tokenized ahead of the first step.
    pub(crate) fn ahead(
        store: &SharedRowStore,
        numbers: &[u32],
        reader: &mut Reader,
        kind: ItemKind,
        bytes: u64,
    ) -> Result<Self> {
        let mut corpus = Self {
            store: store.clone(),
            reader: reader.unchecked(),
            kind,
            known: Known::Rows(numbers.to_vec()),
            seen: Seen::default(),
            step_notes: SharedNotes::default(),
        };
        match corpus.bytes(numbers) > bytes {
            true => corpus.sample(numbers, reader)?,
            false => corpus.read_all(numbers, reader)?,
        }
        // It has learned from the first row which shape all must have.
        corpus.reader = reader.unchecked();
        Ok(corpus)
    }

    fn bytes(&self, numbers: &[u32]) -> u64 {
        let store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        numbers.iter().map(|number| store.bytes(*number)).sum()
    }

    fn read_all(&mut self, numbers: &[u32], reader: &mut Reader) -> Result<()> {
        let (mut rows, mut costs) = (Vec::new(), Vec::new());
        let mut spool = Spool::default();
        let may_be_pieces = self.kind == ItemKind::Demonstrations;
        self.go_through(numbers, reader, |number, items| {
            for (item, index) in items.iter().zip(0..) {
                rows.push((number, index));
                costs.push(cost(item)?);
                if may_be_pieces && is_piece(item) {
                    spool.add(item)?;
                }
            }
            Ok(())
        })?;
        let documents = spool.finish(rows.len())?;
        self.known = Known::All {
            rows,
            costs,
            documents,
        };
        Ok(())
    }

    /// Rows at equal distances, because a file may be sorted.
    fn sample(&mut self, numbers: &[u32], reader: &mut Reader) -> Result<()> {
        let apart = numbers.len().div_ceil(SAMPLED).max(1);
        let sampled: Vec<u32> = numbers.iter().copied().step_by(apart).collect();
        self.go_through(&sampled, reader, |_, _| Ok(()))
    }

    /// Reads all these rows, and sums up what they are.
    fn go_through(
        &mut self,
        numbers: &[u32],
        reader: &mut Reader,
        mut each: impl FnMut(u32, &[Item]) -> Result<()>,
    ) -> Result<()> {
        for numbers in numbers.chunks(AT_ONCE) {
            let rows = self.fetch(numbers)?;
            let all = reader.items(&rows, self.kind)?;
            self.seen.rows += numbers.len();
            self.seen.bytes += self.bytes(numbers);
            for (number, items) in numbers.iter().zip(all) {
                for item in &items {
                    self.seen.add(item, reader.settings().limits)?;
                }
                each(*number, &items)?;
            }
        }
        Ok(())
    }

    /// How many of the rows were looked at, where it was not all of them.
    #[must_use]
    pub fn sampled(&self) -> Option<(usize, usize)> {
        match &self.known {
            Known::All { .. } => None,
            Known::Rows(rows) => Some((self.seen.rows, rows.len())),
        }
    }

    /// What steps will have noted of the rows they read, where not all were looked at before.
    #[must_use]
    pub fn step_notes(&self) -> SharedNotes {
        self.step_notes.clone()
    }

    /// All items at once, for a loss that compares each with all others; `at_once` are read together.
    /// Only tokens stay, and the fields that are not among them: 4 bytes a token and some 300 an item.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn all(&mut self, at_once: usize) -> Result<Sequences> {
        together(self.all_items(at_once)?.into_iter())
    }

    /// All answers at once, as [`all`](Self::all), and whether each was liked: as its row's label says,
    /// or as the chosen one of a pair was and the rejected one was not.
    ///
    /// # Errors
    /// As there.
    pub fn all_with_labels(&mut self, at_once: usize) -> Result<(Sequences, Vec<bool>)> {
        liked(self.all_items(at_once)?)
    }

    fn all_items(&mut self, at_once: usize) -> Result<Vec<Item>> {
        let fields = self.reader.settings().fields.clone();
        let mut all = Vec::with_capacity(self.count());
        let items: Vec<usize> = (0..self.count()).collect();
        for items in items.chunks(at_once.max(1)) {
            let read = match &self.known {
                Known::All { .. } => vec![self.collect(items)?],
                // Here nothing stands in for a row that gives nothing.
                Known::Rows(rows) => self.first(&rows[items[0]..=items[items.len() - 1]])?,
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

    /// How many responses all items have together: an estimate, where not all rows were looked at.
    #[must_use]
    pub fn responses(&self) -> usize {
        self.scaled(self.seen.responses as u64) as usize
    }

    /// How long the prompts are that were looked at, and what room they leave to responses; none where
    /// there was no prompt.
    #[must_use]
    pub fn rooms(&self) -> Option<PromptLengths> {
        self.seen.rooms
    }

    /// How many tokens a network reads for all items, and how many it predicts: estimates, where not
    /// all rows were looked at.
    #[must_use]
    pub fn tokens(&self) -> (u64, u64) {
        (
            self.scaled(self.seen.read),
            self.scaled(self.seen.predicted),
        )
    }

    /// A sum over the rows that were looked at, as one over all.
    fn scaled(&self, sum: u64) -> u64 {
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
        if let Known::All {
            costs,
            documents: Some(documents),
            ..
        } = &mut self.known
        {
            let vocabulary = &self.reader.settings().vocabulary;
            let piece = |&item: &usize| {
                let ids = documents.read(item, costs[item])?;
                let response = ids[1..].to_vec();
                let finish = vocabulary.finish(&response);
                Ok(Item {
                    prompt: Prompt::from_ids(vec![ids[0]]),
                    responses: vec![Response::new(0, response, finish)],
                    liked: None,
                })
            };
            return items.iter().map(piece).collect();
        }
        match &self.known {
            Known::All { rows, costs, .. } => self.again(items, rows, costs),
            Known::Rows(rows) => self.or_next(items, rows),
        }
    }

    /// Items that were read before, of these rows and costs.
    fn again(&self, items: &[usize], rows: &[(u32, u32)], costs: &[u32]) -> Result<Vec<Item>> {
        let numbers: Vec<u32> = items.iter().map(|item| rows[*item].0).collect();
        let read = self.fetch(&numbers)?;
        let found = self.reader.unchecked().items(&read, self.kind)?;
        let mut chosen = Vec::with_capacity(items.len());
        for ((of_row, &item), row) in found.into_iter().zip(items).zip(&read) {
            match of_row.into_iter().nth(rows[item].1 as usize) {
                Some(found) if cost(&found)? == costs[item] => chosen.push(found),
                _ => return Err(row.error("the row was changed while it was in use: start again")),
            }
        }
        Ok(chosen)
    }

    /// The items of each of these rows, which were not read before.
    fn first(&self, numbers: &[u32]) -> Result<Vec<Vec<Item>>> {
        let mut reader = self.reader.unchecked();
        let found = reader.items(&self.fetch(numbers)?, self.kind)?;
        let mut later = self
            .step_notes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        later.absorb(reader.notes);
        Ok(found)
    }

    /// The same of items that are rows, where the next row that gives something stands in for one that
    /// gives nothing.
    fn or_next(&self, items: &[usize], rows: &[u32]) -> Result<Vec<Item>> {
        let numbers: Vec<u32> = items.iter().map(|item| rows[*item]).collect();
        let mut all = Vec::with_capacity(items.len());
        for (mut found, &item) in self.first(&numbers)?.into_iter().zip(items) {
            let after = rows[item + 1..].iter().chain(&rows[..item]);
            for &next in after {
                if !found.is_empty() {
                    break;
                }
                found = self.first(&[next])?.into_iter().flatten().collect();
            }
            all.extend(found);
        }
        Ok(all)
    }
}

impl Seen {
    fn add(&mut self, item: &Item, limits: Limits) -> Result<()> {
        let prompt = item.prompt.ids.len();
        let rooms = self.rooms.map(|rooms| rooms.and(prompt));
        self.rooms = Some(rooms.unwrap_or_else(|| PromptLengths::of(limits, prompt)));
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
        match &self.known {
            Known::All { rows, .. } => rows.len(),
            // None of a sample could be used: there is nothing to learn from.
            Known::Rows(_) if self.seen.items == 0 => 0,
            Known::Rows(rows) => rows.len(),
        }
    }

    fn cost(&self, item: usize) -> usize {
        match &self.known {
            Known::All { costs, .. } => costs[item] as usize,
            Known::Rows(rows) => {
                let bytes = self.bytes(&rows[item..=item]) as f64;
                let tokens = bytes * self.seen.read as f64 / self.seen.bytes.max(1) as f64;
                (tokens.round() as usize).max(1)
            }
        }
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
