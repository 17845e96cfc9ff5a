//! Decoding with cached keys and values and weights packed for few rows at a time.

use super::modules::Linear;
use super::trunk::Batch;
use super::{Gpt2, on_the_pool};
use crate::asked::{check_rows, check_start, no_vocabulary};
use crate::{Error, Packed};
use rayon::prelude::*;
use rlhf_objective::{Decoder, LogDist, Purpose, Result, Start, check_gather, gathered};
use rlhf_tensor::cpu::{
    Cache, CachedRow, Epilogue, PackedMatrix, RowStats, View, Write, activate, attend_cached,
};

/// A continuous batch over one network's weights, which were packed when it was made.
#[derive(Debug)]
pub(super) struct Gpt2Decoder<'a> {
    network: &'a mut Gpt2,
    blocks: Vec<PackedBlock>,
    /// [D, V], in the memory that logits lie in while nothing is decoded.
    head: PackedMatrix,
    rows: Vec<Row>,
    /// Caches that rows left behind.
    free: Vec<Cache>,
    scores: Vec<f32>,
    /// The scores of prompts, before they are copied to their rows.
    by_prompt: Vec<f32>,
    scratch: Scratch,
}

/// The matrices of one block.
#[derive(Debug)]
struct PackedBlock {
    qkv: PackedMatrix,
    attention_out: PackedMatrix,
    inner: PackedMatrix,
    inner_out: PackedMatrix,
}

/// A live sequence.
#[derive(Debug, Clone)]
struct Row {
    cache: Cache,
    /// How many of its tokens have been read.
    tokens: usize,
}

/// Memory reused by every step.
#[derive(Debug, Default)]
struct Scratch {
    x: Vec<f32>,
    normed: Vec<f32>,
    stats: Vec<RowStats>,
    qkv: Vec<f32>,
    mixed: Vec<f32>,
    inner: Vec<f32>,
    active: Vec<f32>,
    packed: Vec<f32>,
}

impl<'a> Gpt2Decoder<'a> {
    pub(super) fn new(network: &'a mut Gpt2) -> Result<Self> {
        let head = network.readout.vocabulary.ok_or_else(no_vocabulary)?;
        // The trunk's memory is used to read prompts.
        network.last = None;
        let weights = network.parameters.weights();
        let precision = network.readout.precision;
        let pack = |linear: &Linear| PackedMatrix::new(precision, linear.weight(weights));
        let blocks = network.trunk.blocks.iter();
        let blocks = blocks.map(|block| PackedBlock {
            qkv: pack(&block.qkv),
            attention_out: pack(&block.attention_out),
            inner: pack(&block.inner),
            inner_out: pack(&block.inner_out),
        });
        Ok(Self {
            blocks: blocks.collect(),
            head: PackedMatrix::within(
                std::mem::take(&mut network.readout.logits),
                precision,
                View::of(weights.matrix(head), network.config.width).t(),
            ),
            network,
            rows: Vec::new(),
            free: Vec::new(),
            scores: Vec::new(),
            by_prompt: Vec::new(),
            scratch: Scratch::default(),
        })
    }

    /// An empty cache with room for `tokens`.
    fn cache(&mut self, tokens: usize) -> Cache {
        let found = self.free.iter().position(|cache| cache.room() >= tokens);
        match found {
            Some(index) => self.free.swap_remove(index),
            None => {
                let blocks = &self.network.trunk.blocks;
                Cache::new(blocks.len(), blocks[0].heads, tokens)
            }
        }
    }

    /// Reads prompts (each once) into the caches of their rows, and leaves their last hidden
    /// states in the readout.
    fn prefill(&mut self, batch: &Batch, prompt_of: &[usize], rows: &mut [Row]) {
        let network = &mut *self.network;
        let weights = network.parameters.weights();
        let d = network.config.width;
        let segments = &batch.packed.segments;
        let stream = network
            .trunk
            .forward(weights, batch, Purpose::Score, |layer, qkv| {
                rows.par_iter_mut()
                    .zip(prompt_of)
                    .for_each(|(row, prompt)| {
                        let range = segments[*prompt].range.clone();
                        let qkv = &qkv[range.start * 3 * d..range.end * 3 * d];
                        for (position, token) in qkv.chunks_exact(3 * d).enumerate() {
                            row.cache
                                .put(layer, position, &token[d..2 * d], &token[2 * d..]);
                        }
                    });
            });
        network.readout.take(weights, stream);
    }

    /// Scores of rows of final hidden states.
    fn score(&mut self, scores: &mut [f32]) {
        let epilogue = Epilogue {
            bias: None,
            scale: self.network.readout.sharpness,
            write: Write::Over,
        };
        let hidden = &self.scratch.normed;
        self.head
            .multiply(hidden, epilogue, &mut self.scratch.packed, scores);
    }

    /// Moves the scores of `rows` to the front, where they only move up, as when some rows leave;
    /// otherwise into new memory.
    fn gather_scores(&mut self, rows: &[usize]) {
        let vocab = self.network.config.vocab;
        if !rows.is_sorted_by(|a, b| a < b) {
            self.scores = gathered(&self.scores, vocab, rows);
            return;
        }
        for (to, &row) in rows.iter().enumerate() {
            self.scores
                .copy_within(row * vocab..(row + 1) * vocab, to * vocab);
        }
        self.scores.truncate(rows.len() * vocab);
    }

    /// Runs one block over the newest token of each row.
    fn block(&mut self, layer: usize) {
        let network = &*self.network;
        let weights = network.parameters.weights();
        let (block, packed) = (&network.trunk.blocks[layer], &self.blocks[layer]);
        let Scratch {
            x,
            normed,
            stats,
            qkv,
            mixed,
            inner,
            active,
            packed: scratch,
        } = &mut self.scratch;
        let with = |bias, write| Epilogue {
            bias: Some(weights.get(bias)),
            scale: 1.0,
            write,
        };
        block.norm_1.forward(weights, x, stats, normed);
        packed
            .qkv
            .multiply(normed, with(block.qkv.ids.bias, Write::Over), scratch, qkv);
        let cached = self.rows.iter_mut().map(|row| CachedRow {
            cache: &mut row.cache,
            position: row.tokens,
        });
        let mut cached: Vec<CachedRow<'_>> = cached.collect();
        attend_cached(&mut cached, layer, block.heads, qkv, mixed);
        let out = with(block.attention_out.ids.bias, Write::Add);
        packed.attention_out.multiply(mixed, out, scratch, x);
        block.norm_2.forward(weights, x, stats, normed);
        packed.inner.multiply(
            normed,
            with(block.inner.ids.bias, Write::Over),
            scratch,
            inner,
        );
        activate(block.nonlinearity, inner, active);
        let out = with(block.inner_out.ids.bias, Write::Add);
        packed.inner_out.multiply(active, out, scratch, x);
    }

    /// Runs the network over one new token a row.
    fn advance(&mut self, tokens: &[u32]) {
        let config = &self.network.config;
        let (vocab, d, inner) = (config.vocab, config.width, config.inner);
        let n = tokens.len();
        let scratch = &mut self.scratch;
        scratch.stats.resize(n, RowStats::default());
        for (buffer, width) in [
            (&mut scratch.x, d),
            (&mut scratch.normed, d),
            (&mut scratch.qkv, 3 * d),
            (&mut scratch.mixed, d),
            (&mut scratch.inner, inner),
            (&mut scratch.active, inner),
        ] {
            buffer.resize(n * width, 0.0);
        }
        let positions: Vec<u32> = self.rows.iter().map(|row| row.tokens as u32).collect();
        let weights = self.network.parameters.weights();
        let embedding = &self.network.trunk.embedding;
        embedding.forward(weights, tokens, &positions, &mut scratch.x);
        for layer in 0..self.blocks.len() {
            self.block(layer);
        }
        let weights = self.network.parameters.weights();
        let Scratch {
            x, normed, stats, ..
        } = &mut self.scratch;
        self.network.readout.norm.forward(weights, x, stats, normed);
        let mut scores = std::mem::take(&mut self.scores);
        scores.resize(n * vocab, 0.0);
        self.score(&mut scores);
        self.scores = scores;
    }
}

impl Drop for Gpt2Decoder<'_> {
    fn drop(&mut self) {
        let head = std::mem::take(&mut self.head);
        self.network.readout.logits = head.into_memory();
    }
}

impl Decoder for Gpt2Decoder<'_> {
    fn vocab(&self) -> usize {
        self.network.config.vocab
    }

    fn start(&mut self, prompts: &[Start<'_>]) -> Result<()> {
        let (vocab, context) = (self.vocab(), self.network.config.positions);
        for start in prompts {
            check_start(start, context)?;
        }
        let histories: Vec<Vec<u32>> = prompts.iter().map(|start| start.prompt.to_vec()).collect();
        let batch = Batch::new(Packed::histories(&histories, vocab, context)?);
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
        on_the_pool(|| self.prefill(&batch, &prompt_of, &mut rows));
        self.scratch.normed.clear();
        self.scratch.normed.extend(self.network.readout.hidden());
        let mut by_prompt = std::mem::take(&mut self.by_prompt);
        by_prompt.resize(prompts.len() * vocab, 0.0);
        self.score(&mut by_prompt);
        for prompt in prompt_of {
            self.scores.extend(&by_prompt[prompt * vocab..][..vocab]);
        }
        self.by_prompt = by_prompt;
        self.rows.append(&mut rows);
        Ok(())
    }

    fn rows(&self) -> usize {
        self.rows.len()
    }

    fn log_dist(&self) -> Result<LogDist<'_>> {
        LogDist::of_scores(&self.scores[..], self.vocab())
    }

    fn step(&mut self, tokens: &[u32]) -> Result<()> {
        check_rows("tokens of a decoding step", self.rows.len(), tokens.len())?;
        let config = &self.network.config;
        let (context, vocab) = (config.positions, config.vocab);
        for (row, token) in self.rows.iter().zip(tokens) {
            check_step(row, *token, vocab, context)?;
        }
        on_the_pool(|| self.advance(tokens));
        self.rows.iter_mut().for_each(|row| row.tokens += 1);
        Ok(())
    }

    fn gather(&mut self, rows: &[usize]) -> Result<()> {
        check_gather(rows, self.rows.len())?;
        self.gather_scores(rows);
        let mut old: Vec<Option<Row>> = self.rows.drain(..).map(Some).collect();
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

/// Whether a row can take this token.
fn check_step(row: &Row, token: u32, vocab: usize, context: usize) -> Result<()> {
    if token as usize >= vocab {
        let message = format!("token id {token} is not in the vocabulary of {vocab}");
        return Err(Error::Batch(message).into());
    }
    if row.tokens >= context.min(row.cache.room()) {
        let message = format!(
            "a row of {} tokens takes no more: its max_new_tokens or the context of {context} is \
             used up",
            row.tokens
        );
        return Err(Error::Batch(message).into());
    }
    Ok(())
}
