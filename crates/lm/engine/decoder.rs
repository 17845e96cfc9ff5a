//! Decoding with cached keys and values and weights packed for few rows at a time.

use super::Transformer;
use super::modules::Linear;
use super::trunk::Batch;
use crate::preconditions::{check_rows, check_start, no_vocabulary};
use crate::{Error, Packed};
use rlhf_device::{
    AttentionShape, CachedPrompt, CachedRow, Device, Epilogue, LogRows, Matrix, Slice, Write,
};
use rlhf_objective::{Decoder, LogDist, Purpose, Result, Start, check_gather};
use rlhf_tensor::ParameterId;

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
    /// The scores of each row's next token, [R, V].
    scores: D::Buffer,
    /// The scores of prompts, before they are copied to their rows.
    by_prompt: D::Buffer,
    scratch: Scratch<D>,
}

/// The matrices of one block.
#[derive(Debug)]
struct PackedBlock<D: Device> {
    qkv: D::Packed,
    attention_out: D::Packed,
    inner: D::Packed,
    inner_out: D::Packed,
}

/// A live sequence.
#[derive(Debug, Clone)]
struct Row<D: Device> {
    cache: D::Cache,
    /// How many of its tokens have been read.
    tokens: usize,
}

/// Memory reused by every step.
#[derive(Debug)]
struct Scratch<D: Device> {
    x: D::Buffer,
    normed: D::Buffer,
    stats: D::NormStats,
    qkv: D::Buffer,
    mixed: D::Buffer,
    inner: D::Buffer,
    active: D::Buffer,
    packed: D::Buffer,
}

impl<D: Device> Default for Scratch<D> {
    fn default() -> Self {
        Self {
            x: D::Buffer::default(),
            normed: D::Buffer::default(),
            stats: D::NormStats::default(),
            qkv: D::Buffer::default(),
            mixed: D::Buffer::default(),
            inner: D::Buffer::default(),
            active: D::Buffer::default(),
            packed: D::Buffer::default(),
        }
    }
}

impl<'a, D: Device> CachedDecoder<'a, D> {
    pub(super) fn new(network: &'a mut Transformer<D>) -> Result<Self> {
        let head = network.readout.vocabulary.ok_or_else(no_vocabulary)?;
        // The trunk's memory is used to read prompts.
        network.last = None;
        let weights = network.parameters.weights();
        let (device, precision) = (weights.device(), network.readout.precision);
        let pack =
            |linear: &Linear| device.pack(D::Buffer::default(), precision, linear.weight(weights));
        let blocks = network.trunk.blocks.iter();
        let blocks = blocks.map(|block| PackedBlock {
            qkv: pack(&block.qkv),
            attention_out: pack(&block.attention_out),
            inner: pack(&block.inner),
            inner_out: pack(&block.inner_out),
        });
        let head = Matrix::new(weights.stored(head), network.spec.width).t();
        let memory = std::mem::take(&mut network.readout.logits);
        Ok(Self {
            blocks: blocks.collect(),
            head: device.pack(memory, precision, head),
            network,
            rows: Vec::new(),
            free: Vec::new(),
            scores: D::Buffer::default(),
            by_prompt: D::Buffer::default(),
            scratch: Scratch::default(),
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
                device.cache(blocks.len(), blocks[0].attention, tokens)
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

    /// Runs one block over the newest token of each of n rows.
    fn block(&mut self, layer: usize) {
        let network = &*self.network;
        let weights = network.parameters.weights();
        let device = weights.device();
        let (block, packed) = (&network.trunk.blocks[layer], &self.blocks[layer]);
        let n = self.rows.len();
        let (d, wide) = (n * network.spec.width, n * block.inner_width);
        let with = |bias: ParameterId, write| Epilogue {
            bias: Some(weights.slice(bias)),
            scale: 1.0,
            write,
        };
        let scratch = &mut self.scratch;
        let (memory, stats) = (&mut scratch.packed, &mut scratch.stats);
        let mut x = device.at_least(&mut scratch.x, d);
        let mut normed = device.at_least(&mut scratch.normed, d);
        let mut qkv = device.at_least(&mut scratch.qkv, 3 * d);
        let mut mixed = device.at_least(&mut scratch.mixed, d);
        let mut inner = device.at_least(&mut scratch.inner, wide);
        let mut active = device.at_least(&mut scratch.active, wide);
        block
            .norm_1
            .forward(weights, x.read(), stats, normed.reborrow());
        let out = with(block.qkv.ids.bias, Write::Over);
        device.multiply_packed(normed.read(), &packed.qkv, out, memory, qkv.reborrow());
        let cached = self.rows.iter_mut().map(|row| CachedRow {
            cache: &mut row.cache,
            position: row.tokens,
        });
        let mut cached: Vec<CachedRow<'_, D>> = cached.collect();
        let shape: AttentionShape = block.attention;
        device.attend_cached(&mut cached, layer, shape, qkv.read(), mixed.reborrow());
        let out = with(block.attention_out.ids.bias, Write::Add);
        device.multiply_packed(
            mixed.read(),
            &packed.attention_out,
            out,
            memory,
            x.reborrow(),
        );
        block
            .norm_2
            .forward(weights, x.read(), stats, normed.reborrow());
        let out = with(block.inner.ids.bias, Write::Over);
        device.multiply_packed(normed.read(), &packed.inner, out, memory, inner.reborrow());
        device.activate(block.nonlinearity, inner.read(), active.reborrow());
        let out = with(block.inner_out.ids.bias, Write::Add);
        device.multiply_packed(active.read(), &packed.inner_out, out, memory, x);
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
        for layer in 0..self.blocks.len() {
            self.block(layer);
        }
        let network = &*self.network;
        let weights = network.parameters.weights();
        let scratch = &mut self.scratch;
        let normed = weights.device().at_least(&mut scratch.normed, size);
        let (x, stats) = (Slice::first(&scratch.x, size), &mut scratch.stats);
        network.readout.norm.forward(weights, x, stats, normed);
        let mut scores = std::mem::take(&mut self.scores);
        self.score(n, &mut scores);
        self.scores = scores;
    }

    /// The scores [n, V] of the first rows of final hidden states.
    fn score(&mut self, n: usize, scores: &mut D::Buffer) {
        let readout = &self.network.readout;
        let epilogue = Epilogue {
            bias: None,
            scale: readout.sharpness,
            write: Write::Over,
        };
        let device = self.network.parameters.device();
        let hidden = Slice::first(&self.scratch.normed, n * readout.width);
        let scores = device.at_least(scores, n * readout.vocab);
        let memory = &mut self.scratch.packed;
        device.multiply_packed(hidden, &self.head, epilogue, memory, scores);
    }

    /// Adds rows that begin with the hidden states of the readout: `prompt_of` says whose each has.
    fn add(&mut self, mut rows: Vec<Row<D>>, prompts: usize, prompt_of: &[usize]) {
        let (vocab, old) = (self.network.spec.vocab, self.rows.len());
        let device = self.network.parameters.device();
        let hidden = self.network.readout.hidden();
        let normed = device.at_least(&mut self.scratch.normed, hidden.len());
        device.copy(hidden, normed);
        let mut by_prompt = std::mem::take(&mut self.by_prompt);
        self.score(prompts, &mut by_prompt);
        let device = self.network.parameters.device();
        let end = (old + rows.len()) * vocab;
        device.grow(&mut self.scores, old * vocab, end);
        let new = device
            .at_least(&mut self.scores, end)
            .part(old * vocab..end);
        let from = Slice::first(&by_prompt, prompts * vocab);
        device.gather_rows(prompt_of, from, new);
        self.by_prompt = by_prompt;
        self.rows.append(&mut rows);
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
        self.network.spec.vocab
    }

    fn start(&mut self, prompts: &[Start<'_>]) -> Result<()> {
        let (vocab, context) = (self.vocab(), self.network.spec.context);
        for start in prompts {
            check_start(start, context)?;
        }
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
            self.add(rows, prompts.len(), &prompt_of);
        });
        Ok(())
    }

    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn log_dist(&self) -> Result<LogDist<'_>> {
        let vocab = self.vocab();
        let scores = Slice::first(&self.scores, self.rows.len() * vocab);
        let scores = self.device().lend(scores, vocab);
        Ok(LogRows::of_scores(scores).into())
    }

    fn step(&mut self, tokens: &[u32]) -> Result<()> {
        check_rows("tokens of a decoding step", self.rows.len(), tokens.len())?;
        let spec = &self.network.spec;
        let (context, vocab) = (spec.context, spec.vocab);
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
        let vocab = self.vocab();
        let device = self.network.parameters.device();
        device.keep_rows(&mut self.scores, vocab, rows);
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
