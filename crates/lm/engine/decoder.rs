//! Decoding with cached keys and values and weights packed for few rows at a time.

use super::Transformer;
use super::block::Norms;
use super::modules::{QueryKeyStats, normalized};
use super::next_scores::{Head, NextScores};
use super::packed_linear::PackedLinear;
use super::trunk::Batch;
use crate::error::Error;
use crate::packed::Packed;
use crate::preconditions::{check_rows, check_start, no_vocabulary};
use crate::spec::{Gate, NormPlace, Residual};
use rlhf_device::{CachedPrompt, CachedRow, Device, Matrix, Slice, SliceMut, Write};
use rlhf_objective::{Decoder, Draw, LogDist, Purpose, Result, Start, check_gather};
use rlhf_tensor::Weights;

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
    scratch: Scratch<D>,
}

/// The matrices of one block.
#[derive(Debug)]
struct PackedBlock<D: Device> {
    qkv: PackedLinear<D>,
    attention_out: PackedLinear<D>,
    up: PackedLinear<D>,
    down: PackedLinear<D>,
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
    /// What a feed-forward layer reads that is parallel to attention.
    parallel: D::Buffer,
    stats: D::NormStats,
    /// Queries, keys and values before their norms.
    projected: D::Buffer,
    query_key: QueryKeyStats<D>,
    qkv: D::Buffer,
    mixed: D::Buffer,
    inner: D::Buffer,
    active: D::Buffer,
    /// What a layer answers, where a norm reads it.
    answer: D::Buffer,
    packed: D::Buffer,
}

impl<D: Device> Default for Scratch<D> {
    fn default() -> Self {
        Self {
            x: D::Buffer::default(),
            normed: D::Buffer::default(),
            parallel: D::Buffer::default(),
            stats: D::NormStats::default(),
            projected: D::Buffer::default(),
            query_key: QueryKeyStats::default(),
            qkv: D::Buffer::default(),
            mixed: D::Buffer::default(),
            inner: D::Buffer::default(),
            active: D::Buffer::default(),
            answer: D::Buffer::default(),
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
        let blocks = network.trunk.blocks.iter();
        let blocks = blocks.map(|block| PackedBlock {
            qkv: PackedLinear::new(&block.qkv, weights),
            attention_out: PackedLinear::new(&block.attention_out, weights),
            up: PackedLinear::new(&block.up, weights),
            down: PackedLinear::new(&block.down, weights),
        });
        let head = Matrix::new(weights.stored(head), network.spec.width).t();
        let memory = std::mem::take(&mut network.readout.logits);
        Ok(Self {
            blocks: blocks.collect(),
            head: device.pack(memory, precision, head),
            network,
            rows: Vec::new(),
            free: Vec::new(),
            next: NextScores::new(),
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

    /// Runs one block over the newest token of each of n rows, which are at these positions.
    fn block(&mut self, layer: usize, positions: &[u32]) {
        let residual = self.network.trunk.blocks[layer].residual;
        if residual == Residual::Parallel {
            // The feed-forward layer reads what attention reads.
            let (network, scratch) = (&*self.network, &mut self.scratch);
            let block = &network.trunk.blocks[layer];
            let x = Slice::first(&scratch.x, positions.len() * block.width);
            let weights = network.parameters.weights();
            let norm = &block.mlp_norms.before;
            normalized(norm, weights, x, &mut scratch.stats, &mut scratch.parallel);
        }
        self.attention_layer(layer, positions);
        self.mlp_layer(layer, positions.len());
    }

    /// Adds to the stream what attention answers.
    fn attention_layer(&mut self, layer: usize, positions: &[u32]) {
        let network = &*self.network;
        let weights = network.parameters.weights();
        let device = weights.device();
        let (block, packed) = (&network.trunk.blocks[layer], &self.blocks[layer]);
        let (n, shape) = (positions.len(), block.attention);
        let scratch = &mut self.scratch;
        let memory = &mut scratch.packed;
        let x = Slice::first(&scratch.x, n * block.width);
        let norm = &block.attention_norms.before;
        let from = normalized(norm, weights, x, &mut scratch.stats, &mut scratch.normed);
        let of_qkv = n * shape.qkv_width();
        let mut qkv = device.at_least(&mut scratch.qkv, of_qkv);
        let linear = (&block.qkv, weights);
        match &block.query_key_norm {
            None => {
                let out = (qkv.reborrow(), Write::Over);
                packed.qkv.forward(linear, from, out, memory);
            }
            Some(norm) => {
                let mut projected = device.at_least(&mut scratch.projected, of_qkv);
                let out = (projected.reborrow(), Write::Over);
                packed.qkv.forward(linear, from, out, memory);
                let stats = &mut scratch.query_key;
                norm.forward(weights, shape, projected.read(), stats, qkv.reborrow());
            }
        }
        if let Some(rope) = block.rope {
            let tables = network.trunk.ropes.get(rope);
            device.rope(shape, tables, positions, qkv.reborrow());
        }
        let cached = self.rows.iter_mut().map(|row| CachedRow {
            cache: &mut row.cache,
            position: row.tokens,
        });
        let mut cached: Vec<CachedRow<'_, D>> = cached.collect();
        let mut mixed = device.at_least(&mut scratch.mixed, n * shape.query_width());
        device.attend_cached(&mut cached, layer, qkv.read(), mixed.reborrow());
        let (linear, out) = ((&block.attention_out, weights), &packed.attention_out);
        add_answer(
            (block.place, &block.attention_norms),
            weights,
            SliceMut::first(&mut scratch.x, n * block.width),
            (&mut scratch.answer, &mut scratch.normed, &mut scratch.stats),
            |y, write| out.forward(linear, mixed.read(), (y, write), memory),
        );
    }

    /// Adds to the stream what the feed-forward layer answers.
    fn mlp_layer(&mut self, layer: usize, n: usize) {
        let network = &*self.network;
        let weights = network.parameters.weights();
        let device = weights.device();
        let (block, packed) = (&network.trunk.blocks[layer], &self.blocks[layer]);
        let scratch = &mut self.scratch;
        let memory = &mut scratch.packed;
        let x = Slice::first(&scratch.x, n * block.width);
        let norm = &block.mlp_norms.before;
        let from = match block.residual {
            Residual::Serial => {
                normalized(norm, weights, x, &mut scratch.stats, &mut scratch.normed)
            }
            Residual::Parallel => Slice::first(&scratch.parallel, n * block.width),
        };
        let mut inner = device.at_least(&mut scratch.inner, n * block.mlp.expanded());
        let out = (inner.reborrow(), Write::Over);
        packed.up.forward((&block.up, weights), from, out, memory);
        let mut active = device.at_least(&mut scratch.active, n * block.mlp.inner);
        let (kind, width) = (block.mlp.activation, block.mlp.inner);
        match block.mlp.gate {
            Gate::None => device.activate(kind, inner.read(), active.reborrow()),
            Gate::Gated => device.activate_gated(kind, width, inner.read(), active.reborrow()),
        }
        let (linear, out) = ((&block.down, weights), &packed.down);
        add_answer(
            (block.place, &block.mlp_norms),
            weights,
            SliceMut::first(&mut scratch.x, n * block.width),
            (&mut scratch.answer, &mut scratch.normed, &mut scratch.stats),
            |y, write| out.forward(linear, active.read(), (y, write), memory),
        );
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
            self.block(layer, &positions);
        }
        let network = &*self.network;
        let weights = network.parameters.weights();
        let scratch = &mut self.scratch;
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
        weight: weights.stored(weight),
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
        self.network.spec.vocab
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
        let head = head(self.network, &self.head);
        head.device.run(|| next.draw(&head, uniforms, draw, memory))
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
        let head = head(self.network, &self.head);
        let (next, memory) = (&mut self.next, &mut self.scratch.packed);
        head.device.run(|| next.gather(&head, rows, memory));
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

/// Adds to `x` what `answer` writes, normalized where the block has a norm there.
fn add_answer<D: Device>(
    (place, norms): (NormPlace, &Norms),
    weights: Weights<'_, D>,
    mut x: SliceMut<'_, D>,
    (memory, normed, stats): (&mut D::Buffer, &mut D::Buffer, &mut D::NormStats),
    answer: impl FnOnce(SliceMut<'_, D>, Write),
) {
    let Some(norm) = &norms.after else {
        return answer(x, Write::Add);
    };
    let device = weights.device();
    let mut normed = device.at_least(normed, x.len());
    if place == NormPlace::OnSum {
        answer(x.reborrow(), Write::Add);
        norm.forward(weights, x.read(), stats, normed.reborrow());
        device.copy(normed.read(), x);
        return;
    }
    let mut answered = device.at_least(memory, x.len());
    answer(answered.reborrow(), Write::Over);
    norm.forward(weights, answered.read(), stats, normed.reborrow());
    device.add(normed.read(), x);
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
