//! Attention of one new token per row to the cached keys and values of the tokens before it.

use super::Buffer;
use super::attention::softmax;
use super::simd::{LANES, dispatch, fma, isa};
use crate::AttentionShape;
use rayon::prelude::*;
use std::cell::RefCell;
use std::ops::Range;

thread_local! {
    static SCORES: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// The keys and values of one sequence in every layer, with room for a fixed number of tokens.
///
/// The layout of a layer's keys is [kv head, tokens / 16, head width, 16]: the scores of sixteen tokens are then
/// the lanes of a register, and no sum across a register is needed. That of its values is [kv head, tokens,
/// head width].
#[derive(Debug, Clone)]
pub struct Cache {
    keys: Buffer,
    values: Buffer,
    layers: Vec<Layer>,
    room: usize,
}

/// The shape of a layer, and the offset of its first head.
#[derive(Debug, Clone, Copy)]
struct Layer {
    shape: AttentionShape,
    start: usize,
}

impl Cache {
    /// An empty cache of at least `room` tokens for layers of these shapes.
    #[must_use]
    pub fn new(layers: &[AttentionShape], room: usize) -> Self {
        let room = room.next_multiple_of(LANES);
        let mut size = 0;
        let layers = layers.iter().map(|shape| {
            let start = size;
            size += shape.kv_width() * room;
            let shape = *shape;
            Layer { shape, start }
        });
        let layers = layers.collect();
        Self {
            keys: Buffer::zeroed(size),
            values: Buffer::zeroed(size),
            layers,
            room,
        }
    }

    /// How many tokens fit.
    #[must_use]
    pub fn room(&self) -> usize {
        self.room
    }

    /// The sizes of a layer.
    ///
    /// # Panics
    /// If there is no such layer.
    #[must_use]
    pub fn shape(&self, layer: usize) -> AttentionShape {
        self.layers[layer].shape
    }

    /// Stores the keys and values of a prompt in a layer, from position 0 on: those in these rows of `qkv`.
    ///
    /// # Panics
    /// If they do not fit.
    pub fn put_prompt(&mut self, layer: usize, qkv: &[f32], rows: &Range<usize>) {
        let shape = self.shape(layer);
        let (width, keys) = (shape.qkv_width(), shape.query_width());
        let rows = qkv[rows.start * width..rows.end * width].chunks_exact(width);
        for (position, row) in rows.enumerate() {
            let (key, value) = row[keys..].split_at(shape.kv_width());
            self.put(layer, position, key, value);
        }
    }

    /// Stores the key and value of all kv heads for the token at `position`.
    fn put(&mut self, layer: usize, position: usize, key: &[f32], value: &[f32]) {
        assert!(position < self.room, "a cache with room");
        let width = self.shape(layer).head_width;
        let vectors = key.chunks_exact(width).zip(value.chunks_exact(width));
        for (mut head, (key, value)) in self.heads_mut(layer).zip(vectors) {
            head.put(position, key, value);
        }
    }

    /// The kv heads of a layer.
    fn heads_mut(&mut self, layer: usize) -> impl Iterator<Item = CachedHead<'_>> {
        let Layer { shape, start } = self.layers[layer];
        let size = self.room * shape.head_width;
        let range = start..start + shape.kv_heads * size;
        let keys = self.keys[range.clone()].chunks_exact_mut(size);
        let both = keys.zip(self.values[range].chunks_exact_mut(size));
        both.map(|(keys, values)| CachedHead { keys, values })
    }
}

/// The keys and values of one head of one layer.
struct CachedHead<'a> {
    keys: &'a mut [f32],
    values: &'a mut [f32],
}

impl CachedHead<'_> {
    fn put(&mut self, position: usize, key: &[f32], value: &[f32]) {
        let width = key.len();
        let block = position / LANES * LANES * width + position % LANES;
        let slots = self.keys[block..].iter_mut().step_by(LANES);
        slots.zip(key).for_each(|(slot, key)| *slot = *key);
        self.values[position * width..][..width].copy_from_slice(value);
    }
}

#[inline(always)]
fn scores_body<const FUSED: bool>(query: &[f32], keys: &[f32], scale: f32, scores: &mut [f32]) {
    let blocks = keys.chunks_exact(query.len() * LANES);
    for (block, scores) in blocks.zip(scores.as_chunks_mut::<LANES>().0) {
        let mut lanes = [[0.0; LANES]; 2];
        let (pairs, rest) = block.as_chunks::<{ 2 * LANES }>();
        for (keys, query) in pairs.iter().zip(query.as_chunks::<2>().0) {
            for i in 0..LANES {
                lanes[0][i] = fma::<FUSED>(query[0], keys[i], lanes[0][i]);
                lanes[1][i] = fma::<FUSED>(query[1], keys[LANES + i], lanes[1][i]);
            }
        }
        for (i, key) in rest.iter().enumerate() {
            lanes[0][i] = fma::<FUSED>(query[query.len() - 1], *key, lanes[0][i]);
        }
        for i in 0..LANES {
            scores[i] = (lanes[0][i] + lanes[1][i]) * scale;
        }
    }
}
dispatch!(fn scores_of = scores_body(query: &[f32], keys: &[f32], scale: f32, scores: &mut [f32]));

/// Registers of columns that are summed at a time: enough independent sums to hide the latency of one.
const COLUMNS: usize = 4;

/// The columns of `N` registers, from column `first` on.
#[inline(always)]
fn mix_columns<const FUSED: bool, const N: usize>(
    shares: &[f32],
    values: &[f32],
    first: usize,
    output: &mut [f32],
) {
    let width = output.len();
    let mut lanes = [[0.0; LANES]; N];
    for (share, value) in shares.iter().zip(values.chunks_exact(width)) {
        let value = value[first..first + N * LANES].as_chunks::<LANES>().0;
        for j in 0..N {
            for i in 0..LANES {
                lanes[j][i] = fma::<FUSED>(*share, value[j][i], lanes[j][i]);
            }
        }
    }
    output[first..first + N * LANES].copy_from_slice(lanes.as_flattened());
}

#[inline(always)]
fn mix_body<const FUSED: bool>(shares: &[f32], values: &[f32], output: &mut [f32]) {
    let width = output.len();
    let mut first = 0;
    while width - first >= COLUMNS * LANES {
        mix_columns::<FUSED, COLUMNS>(shares, values, first, output);
        first += COLUMNS * LANES;
    }
    while width - first >= LANES {
        mix_columns::<FUSED, 1>(shares, values, first, output);
        first += LANES;
    }
    let rest = &mut output[first..];
    rest.fill(0.0);
    if !rest.is_empty() {
        for (share, value) in shares.iter().zip(values.chunks_exact(width)) {
            let rest = rest.iter_mut().zip(&value[first..]);
            rest.for_each(|(sum, value)| *sum = fma::<FUSED>(*share, *value, *sum));
        }
    }
}
dispatch!(fn mix = mix_body(shares: &[f32], values: &[f32], output: &mut [f32]));

/// A sequence whose newest token attends to the cached ones.
#[derive(Debug)]
pub struct CachedRow<'a> {
    /// The keys and values of the tokens before the newest one.
    pub cache: &'a mut Cache,
    /// How many tokens are cached, which is the position of the newest one.
    pub position: usize,
}

/// Appends the key and value of each row's newest token, from `qkv` [rows, qkv width], to its cache of `layer`,
/// and computes the attention of its queries to the cached tokens, or to the newest `window` of them: `output`
/// [rows, query width].
///
/// # Panics
/// If the sizes do not fit.
pub fn attend_cached(rows: &mut [CachedRow<'_>], layer: usize, qkv: &[f32], output: &mut [f32]) {
    let Some(first) = rows.first() else {
        assert!(qkv.is_empty() && output.is_empty(), "no rows");
        return;
    };
    let shape = first.cache.shape(layer);
    let (width, in_row) = (shape.head_width, shape.qkv_width());
    let of_group = shape.group() * width;
    assert_eq!(
        (qkv.len(), output.len()),
        (rows.len() * in_row, rows.len() * shape.query_width())
    );
    let isa = isa();
    let cached = rows.iter_mut().enumerate().flat_map(|(row, cached)| {
        let position = cached.position;
        assert!(position < cached.cache.room, "a cache with room");
        assert!(cached.cache.shape(layer) == shape, "caches of one shape");
        let heads = cached.cache.heads_mut(layer).enumerate();
        heads.map(move |(head, cached)| (row * in_row, head, position, cached))
    });
    let mut cached: Vec<(usize, usize, usize, CachedHead<'_>)> = cached.collect();
    let tasks = cached
        .par_iter_mut()
        .zip(output.par_chunks_mut(of_group))
        .with_min_len(shape.kv_heads.div_ceil(2));
    let keys = shape.query_width();
    let values = keys + shape.kv_width();
    tasks.for_each(|((start, head, position, cached), output)| {
        let qkv = &qkv[*start..][..in_row];
        let [key, value] = [keys, values].map(|part| &qkv[part + *head * width..][..width]);
        cached.put(*position, key, value);
        let queries = qkv[*head * of_group..][..of_group].chunks_exact(width);
        let tokens = *position + 1;
        // Sixteen tokens are scored at a time, and the first of them may be before the window.
        let first = tokens - shape.window.map_or(tokens, |window| window.min(tokens));
        let block = first / LANES * LANES;
        SCORES.with_borrow_mut(|scores| {
            let blocks = tokens.div_ceil(LANES) * LANES - block;
            scores.resize(scores.len().max(blocks), 0.0);
            let keys = &cached.keys[block * width..];
            let values = &cached.values[first * width..];
            for (query, output) in queries.zip(output.chunks_exact_mut(width)) {
                scores_of(isa, query, keys, shape.scale, &mut scores[..blocks]);
                let shares = &mut scores[first - block..tokens - block];
                softmax(isa, shares);
                mix(isa, shares, values, output);
            }
        });
    });
}
