//! Causal attention over segments: a segment attends to itself, up to each row, and to the whole
//! of its ancestors, whose keys and values are read where they lie.

use super::matmul::{Operand, raw};
use super::segments::{Block, Segments};
use super::simd::{Isa, dispatch, exp, isa, max};
use super::split::Shared;
use crate::{AttentionShape, Write};
use gemm::Parallelism;
use rayon::prelude::*;
use std::cell::RefCell;
use std::ops::Range;

thread_local! {
    /// Attention shares of one block, and their gradients.
    pub(crate) static SCRATCH: RefCell<(Vec<f32>, Vec<f32>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

#[inline(always)]
fn softmax_body<const FUSED: bool>(row: &mut [f32]) -> f32 {
    let largest = max(row);
    row.iter_mut().for_each(|x| *x = exp::<FUSED>(*x - largest));
    let mut lanes = [0.0; 16];
    let (chunks, rest) = row.as_chunks::<16>();
    for chunk in chunks {
        for i in 0..16 {
            lanes[i] += chunk[i];
        }
    }
    let total = super::simd::sum_lanes(lanes) + rest.iter().sum::<f32>();
    let scale = 1.0 / total;
    row.iter_mut().for_each(|x| *x *= scale);
    largest + total.ln()
}
dispatch!(
    /// Softmax in place; answers log Σ exp.
    pub(crate) fn softmax = softmax_body(row: &mut [f32]) -> f32);

/// The first `length` floats of a scratch vector that only grows.
pub(crate) fn grown(scratch: &mut Vec<f32>, length: usize) -> &mut [f32] {
    if scratch.len() < length {
        scratch.resize(length, 0.0);
    }
    &mut scratch[..length]
}

/// Queries, keys and values [n, 3D] and the sizes to find one head's part in them.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    pub(crate) shape: AttentionShape,
    pub(crate) qkv: &'a [f32],
}

impl Inputs<'_> {
    /// Floats between rows.
    pub(crate) fn stride(&self) -> usize {
        3 * self.shape.heads * self.shape.head_width
    }

    /// Where part 0, 1 or 2 (query, key, value) of a row begins for a head.
    pub(crate) fn offset(&self, part: usize, row: usize, head: usize) -> usize {
        row * self.stride() + (part * self.shape.heads + head) * self.shape.head_width
    }

    /// The matrix that begins there.
    pub(crate) fn operand(&self, part: usize, row: usize, head: usize) -> Operand {
        Operand::rows(
            self.qkv[self.offset(part, row, head)..].as_ptr(),
            self.stride(),
        )
    }
}

/// `c` ← (`c` +) `scale`·`a`·`b` on this thread alone.
///
/// # Safety
/// As [`raw`].
#[allow(unsafe_code)]
pub(crate) unsafe fn product(
    size: [usize; 3],
    c: (*mut f32, usize),
    write: Write,
    scale: f32,
    a: Operand,
    b: Operand,
) {
    // SAFETY: the caller's promise.
    unsafe { raw(Parallelism::None, size, c.0, c.1, write, scale, a, b) }
}

/// scores [rows, columns] of a block and head, before the softmax and its mask.
#[allow(unsafe_code)]
pub(crate) fn score(
    inputs: Inputs<'_>,
    block: &Block,
    keys: &[(Range<usize>, usize)],
    head: usize,
    scores: &mut [f32],
) {
    let (rows, width) = (block.rows.len(), inputs.shape.head_width);
    let columns = scores.len() / rows;
    let queries = inputs.operand(0, block.rows.start, head);
    for (range, first) in keys {
        let c = (scores[*first..].as_mut_ptr(), columns);
        let k = inputs.operand(1, range.start, head).t();
        // SAFETY: `Segments` keeps ranges within the rows of `qkv`, and columns within `scores`.
        unsafe {
            product(
                [rows, range.len(), width],
                c,
                Write::Over,
                inputs.shape.scale,
                queries,
                k,
            )
        };
    }
}

/// The columns that row `row` of a block sees.
pub(crate) fn visible(block: &Block, columns: usize, row: usize) -> usize {
    columns - (block.rows.len() - 1 - row)
}

/// Whether the sizes fit: `unsafe` code below relies on it.
pub(crate) fn check(
    segments: &Segments,
    shape: AttentionShape,
    qkv: &[f32],
    output: &[f32],
    log_sums: &[f32],
) {
    let (n, width) = (segments.rows(), shape.heads * shape.head_width);
    assert!(width > 0, "heads of some width");
    assert_eq!((qkv.len(), output.len()), (3 * n * width, n * width));
    assert_eq!(log_sums.len(), n * shape.heads);
}

/// Attention of every head: `qkv` [n, 3D] → `output` [n, D], and the log of each softmax's
/// denominator, `log_sums` [n, heads], which the backward pass needs.
///
/// # Panics
/// If the sizes do not fit.
pub fn attention(
    segments: &Segments,
    shape: AttentionShape,
    qkv: &[f32],
    output: &mut [f32],
    log_sums: &mut [f32],
) {
    check(segments, shape, qkv, output, log_sums);
    let (inputs, isa) = (Inputs { shape, qkv }, isa());
    let (output, log_sums) = (Shared::new(output), Shared::new(log_sums));
    (0..segments.blocks.len() * shape.heads)
        .into_par_iter()
        .for_each(|task| {
            let (block, head) = (&segments.blocks[task / shape.heads], task % shape.heads);
            SCRATCH.with_borrow_mut(|(scores, _)| {
                attend(isa, segments, inputs, block, head, scores, output, log_sums);
            });
        });
}

/// One block and head of [`attention`].
#[allow(unsafe_code, clippy::too_many_arguments)]
fn attend(
    isa: Isa,
    segments: &Segments,
    inputs: Inputs<'_>,
    block: &Block,
    head: usize,
    scratch: &mut Vec<f32>,
    output: Shared<'_>,
    log_sums: Shared<'_>,
) {
    let AttentionShape {
        heads: count,
        head_width: width,
        ..
    } = inputs.shape;
    let rows = block.rows.len();
    let (keys, columns) = segments.columns(block);
    let scores = grown(scratch, rows * columns);
    score(inputs, block, &keys, head, scores);
    for (i, row) in scores.chunks_exact_mut(columns).enumerate() {
        let (seen, hidden) = row.split_at_mut(visible(block, columns, i));
        let at = (block.rows.start + i) * count + head;
        // SAFETY: no other task has this row and head.
        unsafe { log_sums.part(at..at + 1) }.fill(softmax(isa, seen));
        hidden.fill(0.0);
    }
    let d = count * width;
    let c = (output.pointer(block.rows.start * d + head * width), d);
    for (i, (range, first)) in keys.iter().enumerate() {
        let write = if i == 0 { Write::Over } else { Write::Add };
        let shares = Operand::rows(scores[*first..].as_ptr(), columns);
        let v = inputs.operand(2, range.start, head);
        // SAFETY: ranges are within `qkv`; no other task writes these rows of this head.
        unsafe { product([rows, width, range.len()], c, write, 1.0, shares, v) };
    }
}
