//! Decoding with cached keys and values and weights packed for few rows at a time.

use super::Transformer;
use super::next_scores::{Head, NextScores};
use super::packed_block::{PackedBlock, Step, StepScratch};
use super::trunk::Batch;
use crate::error::Error;
use crate::packed::Packed;
use crate::preconditions::{check_rows, check_start, no_vocabulary};
use rlhf_device::{CachedPrompt, CachedRow, Device, Matrix, Slice};
use rlhf_objective::{Decoder, Draw, LogDist, Purpose, Result, Start, check_gather};

/// A continuous batch over one network's weights, which were packed when it was made.
#[derive(Debug)]
pub(super) struct CachedDecoder<'a, D: Device> {
    network: &'a mut Transformer<D>,
    blocks: Vec<PackedBlock<D>>,
    /// [D, V], in the memory that logits lie in while nothing is decoded.
    head: D::Packed,
    rows: Vec<Row<D>>,
    /// Caches that rows left behind.
    free: Vec<D::Cache>,
    next: NextScores<D>,
    scratch: StepScratch<D>,
}

/// A live sequence.
#[derive(Debug, Clone)]
struct Row<D: Device> {
    cache: D::Cache,
    /// How many of its tokens have been read.
    tokens: usize,
}

impl<'a, D: Device> CachedDecoder<'a, D> {
    pub(super) fn new(network: &'a mut Transformer<D>) -> Result<Self> {
        let head = network.readout.vocabulary.ok_or_else(no_vocabulary)?;
        // The trunk's memory is used to read prompts.
        network.last = None;
        let weights = network.parameters.weights();
        let (device, precision) = (weights.device(), network.readout.precision);
        let blocks = network.trunk.blocks.iter();
        let blocks = blocks.map(|block| PackedBlock::new(block, weights));
        let head = network.readout.weight(weights, head);
        let head = Matrix::new(head, network.spec.width).t();
        let memory = std::mem::take(&mut network.readout.logits);
        Ok(Self {
            blocks: blocks.collect(),
            head: device.pack(memory, precision, head),
            network,
            rows: Vec::new(),
            free: Vec::new(),
            next: NextScores::new(),
            scratch: StepScratch::default(),
        })
    }

    fn device(&self) -> &D {
        self.network.parameters.device()
    }

    /// An empty cache with room for `tokens`.
    fn cache(&mut self, tokens: usize) -> D::Cache {
        let device = self.network.parameters.device();
        let mut free = self.free.iter();
        match free.position(|cache| device.room(cache) >= tokens) {
            Some(index) => self.free.swap_remove(index),
            None => {
                let blocks = &self.network.trunk.blocks;
                let layers: Vec<_> = blocks.iter().map(|block| block.attention).collect();
                device.cache(&layers, tokens)
            }
        }
    }

    /// Reads prompts (each once) into the caches of their rows, and leaves their last hidden
    /// states in the readout.
    fn prefill(&mut self, batch: &Batch<D>, prompt_of: &[usize], rows: &mut [Row<D>]) {
        let network = &mut *self.network;
        let weights = network.parameters.weights();
        let segments = &batch.packed.segments;
        let prompts = rows.iter_mut().zip(prompt_of);
        let prompts = prompts.map(|(row, prompt)| CachedPrompt {
            cache: &mut row.cache,
            rows: segments[*prompt].range.clone(),
        });
        let mut prompts: Vec<CachedPrompt<'_, D>> = prompts.collect();
        let (trunk, device) = (&mut network.trunk, weights.device());
        let stream = trunk.forward(weights, batch, Purpose::Score, |layer, qkv| {
            device.cache_prompts(&mut prompts, layer, qkv);
        });
        network.readout.take(weights, stream);
    }

    /// Runs the network over one new token a row.
    fn advance(&mut self, tokens: &[u32]) {
        let n = tokens.len();
        let size = n * self.network.spec.width;
        let positions: Vec<u32> = self.rows.iter().map(|row| row.tokens as u32).collect();
        let network = &*self.network;
        let weights = network.parameters.weights();
        let x = weights.device().at_least(&mut self.scratch.x, size);
        let embedding = &network.trunk.embedding;
        embedding.forward(weights, tokens, &positions, x);
        let cached = self.rows.iter_mut().map(|row| CachedRow {
            cache: &mut row.cache,
            position: row.tokens,
        });
        let mut cached: Vec<CachedRow<'_, D>> = cached.collect();
        let step = Step {
            weights,
            ropes: &network.trunk.ropes,
            positions: &positions,
        };
        let scratch = &mut self.scratch;
        let blocks = network.trunk.blocks.iter().zip(&self.blocks);
        for (layer, (block, packed)) in blocks.enumerate() {
            packed.step(block, step, (&mut cached, layer), scratch);
        }
        let normed = weights.device().at_least(&mut scratch.normed, size);
        let (x, stats) = (Slice::first(&scratch.x, size), &mut scratch.stats);
        network.readout.norm.forward(weights, x, stats, normed);
        let hidden = Slice::first(&scratch.normed, size);
        let memory = &mut scratch.packed;
        self.next
            .replace(&head(network, &self.head), hidden, memory);
    }

    /// Adds rows that begin with the hidden states of the readout: `prompt_of` says whose each has.
    fn add(&mut self, mut rows: Vec<Row<D>>, prompt_of: &[usize]) {
        let network = &*self.network;
        let (hidden, memory) = (network.readout.hidden(), &mut self.scratch.packed);
        self.next
            .append(&head(network, &self.head), hidden, prompt_of, memory);
        self.rows.append(&mut rows);
    }
}

/// The vocabulary head of a network that has one, packed.
fn head<'a, D: Device>(network: &'a Transformer<D>, packed: &'a D::Packed) -> Head<'a, D> {
    let (readout, weights) = (&network.readout, network.parameters.weights());
    let weight = readout.vocabulary.expect("a decoder's network has a head");
    Head {
        device: weights.device(),
        packed,
        weight: readout.weight(weights, weight),
        precision: readout.precision,
        width: readout.width,
        vocab: readout.vocab,
        sharpness: readout.sharpness,
    }
}

impl<D: Device> Drop for CachedDecoder<'_, D> {
    fn drop(&mut self) {
        let head = std::mem::take(&mut self.head);
        let memory = self.device().unpack(head);
        self.network.readout.logits = memory;
    }
}

impl<D: Device> Decoder for CachedDecoder<'_, D> {
    fn vocab(&self) -> usize {
        self.network.readout.vocab
    }

    fn start(&mut self, prompts: &[Start<'_>]) -> Result<()> {
        let (vocab, context) = (self.vocab(), self.network.spec.context);
        for start in prompts {
            check_start(start, context)?;
        }
        let device = self.device().clone();
        let room = |start: &Start<'_>| start.prompt.len() + start.max_new_tokens;
        let longest = prompts.iter().map(room).max().unwrap_or(0);
        let ropes = &mut self.network.trunk.ropes;
        ropes.make_room(&device, longest.min(context));
        let histories: Vec<Vec<u32>> = prompts.iter().map(|start| start.prompt.to_vec()).collect();
        let packed = Packed::histories(&histories, vocab, context)?;
        let batch = Batch::new(self.device(), packed);
        let (mut prompt_of, mut rows) = (Vec::new(), Vec::new());
        for (index, start) in prompts.iter().enumerate() {
            for _ in 0..start.samples {
                // The last new token is never read.
                let room = start.prompt.len() + start.max_new_tokens.saturating_sub(1);
                prompt_of.push(index);
                rows.push(Row {
                    cache: self.cache(room.max(start.prompt.len())),
                    tokens: start.prompt.len(),
                });
            }
        }
        let device = self.device().clone();
        device.run(|| {
            self.prefill(&batch, &prompt_of, &mut rows);
            self.add(rows, &prompt_of);
        });
        Ok(())
    }

    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn log_dist(&self) -> Result<LogDist<'_>> {
        Ok(self.next.log_dist(&head(self.network, &self.head)))
    }

    fn draw(&mut self, uniforms: &[f64], draw: Draw) -> Result<Vec<(u32, f32)>> {
        check_rows("uniform numbers of a draw", self.rows.len(), uniforms.len())?;
        let (next, memory) = (&mut self.next, &mut self.scratch.packed);
        next.draw(&head(self.network, &self.head), uniforms, draw, memory)
    }

    fn step(&mut self, tokens: &[u32]) -> Result<()> {
        check_rows("tokens of a decoding step", self.rows.len(), tokens.len())?;
        let spec = &self.network.spec;
        let (context, vocab) = (spec.context, self.vocab());
        for (row, token) in self.rows.iter().zip(tokens) {
            check_step(
                row.tokens,
                *token,
                vocab,
                (context, self.device().room(&row.cache)),
            )?;
        }
        let device = self.device().clone();
        device.run(|| self.advance(tokens));
        self.rows.iter_mut().for_each(|row| row.tokens += 1);
        Ok(())
    }

    fn gather(&mut self, rows: &[usize]) -> Result<()> {
        check_gather(rows, self.rows.len())?;
        let head = head(self.network, &self.head);
        let (next, memory) = (&mut self.next, &mut self.scratch.packed);
        next.gather(&head, rows, memory);
        let mut old: Vec<Option<Row<D>>> = self.rows.drain(..).map(Some).collect();
        // The last row that continues one takes its cache; the others before it get copies.
        for (place, &row) in rows.iter().enumerate() {
            let more = rows[place + 1..].contains(&row);
            let taken = if more {
                old[row].clone()
            } else {
                old[row].take()
            };
            self.rows.extend(taken);
        }
        self.free
            .extend(old.into_iter().flatten().map(|row| row.cache));
        Ok(())
    }
}

/// Whether a row of so many tokens can take this one.
fn check_step(
    tokens: usize,
    token: u32,
    vocab: usize,
    (context, room): (usize, usize),
) -> Result<()> {
    if token as usize >= vocab {
        let message = format!("token id {token} is not in the vocabulary of {vocab}");
        return Err(Error::Batch(message).into());
    }
    if tokens >= context.min(room) {
        let message = format!(
            "a row of {tokens} tokens takes no more: its max_new_tokens or the context of {context} \
             is used up"
        );
        return Err(Error::Batch(message).into());
    }
    Ok(())
}
