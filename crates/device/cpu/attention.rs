//! Causal attention over segments. A row attends to its own segment up to itself and to the ancestors of the
//! segment, whose keys and values are read without copying them.

use super::gemm_f32::{Operand, raw};
use super::segments::{Block, Keys, Segments};
use super::simd::{Isa, dispatch, exp, isa, max};
use super::split::Shared;
use crate::{AttentionShape, Write};
use gemm::Parallelism;
use rayon::prelude::*;
use std::cell::RefCell;

thread_local! {
    /// The softmax of one block, and its gradient.
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
    /// Softmax in place; returns log Σ exp.
    pub(crate) fn softmax = softmax_body(row: &mut [f32]) -> f32);

/// The first `length` floats of a scratch vector, which grows if it is shorter.
pub(crate) fn grown(scratch: &mut Vec<f32>, length: usize) -> &mut [f32] {
    if scratch.len() < length {
        scratch.resize(length, 0.0);
    }
    &mut scratch[..length]
}

/// One of the three parts of a row of qkv.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Query,
    Key,
    Value,
}

/// Queries, keys and values [n, qkv width], and where the vectors of each head are.
#[derive(Clone, Copy)]
pub(crate) struct Inputs<'a> {
    pub(crate) shape: AttentionShape,
    pub(crate) qkv: &'a [f32],
}

impl Inputs<'_> {
    /// Floats between rows.
    pub(crate) fn stride(&self) -> usize {
        self.shape.qkv_width()
    }

    /// The offset of a query head's vector in a part of a row: for keys and values, that of the key-value head
    /// that the query head reads.
    pub(crate) fn offset(&self, part: Part, row: usize, head: usize) -> usize {
        let (shape, kv_head) = (self.shape, head / self.shape.group());
        let head = match part {
            Part::Query => head,
            Part::Key => shape.heads + kv_head,
            Part::Value => shape.heads + shape.kv_heads + kv_head,
        };
        row * self.stride() + head * shape.head_width
    }

    /// The matrix of one head's vectors, from a row on.
    pub(crate) fn operand(&self, part: Part, row: usize, head: usize) -> Operand {
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

/// The scores [rows, columns] of a block and head, before the mask and the softmax.
#[allow(unsafe_code)]
pub(crate) fn score(
    inputs: Inputs<'_>,
    block: &Block,
    keys: &Keys,
    head: usize,
    scores: &mut [f32],
) {
    let (rows, width) = (block.rows.len(), inputs.shape.head_width);
    let queries = inputs.operand(Part::Query, block.rows.start, head);
    for (range, first) in &keys.ranges {
        let c = (scores[*first..].as_mut_ptr(), keys.columns);
        let k = inputs.operand(Part::Key, range.start, head).t();
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

/// Panics if the sizes do not fit; `unsafe` code relies on them.
pub(crate) fn check(
    segments: &Segments,
    shape: AttentionShape,
    qkv: &[f32],
    output: &[f32],
    log_sums: &[f32],
) {
    let n = segments.rows();
    assert!(
        shape.kv_heads > 0 && shape.heads.is_multiple_of(shape.kv_heads),
        "{} heads cannot share {} key-value heads evenly",
        shape.heads,
        shape.kv_heads
    );
    assert!(shape.query_width() > 0, "heads of some width");
    assert!(shape.window != Some(0), "a window of some tokens");
    assert_eq!(qkv.len(), n * shape.qkv_width());
    assert_eq!(output.len(), n * shape.query_width());
    assert_eq!(log_sums.len(), n * shape.heads);
}

/// Attention of every head: `qkv` [n, qkv width] → `output` [n, query width], and the log of each softmax's
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
    let (count, width) = (inputs.shape.heads, inputs.shape.head_width);
    let rows = block.rows.len();
    let keys = segments.keys(block, inputs.shape.window);
    let scores = grown(scratch, rows * keys.columns);
    score(inputs, block, &keys, head, scores);
    for (i, row) in scores.chunks_exact_mut(keys.columns).enumerate() {
        let visible = keys.visible(i);
        let at = (block.rows.start + i) * count + head;
        row[..visible.start].fill(0.0);
        row[visible.end..].fill(0.0);
        // SAFETY: no other task has this row and head.
        unsafe { log_sums.part(at..at + 1) }.fill(softmax(isa, &mut row[visible]));
    }
    let d = count * width;
    let c = (output.pointer(block.rows.start * d + head * width), d);
    for (i, (range, first)) in keys.ranges.iter().enumerate() {
        let write = if i == 0 { Write::Over } else { Write::Add };
        let shares = Operand::rows(scores[*first..].as_ptr(), keys.columns);
        let v = inputs.operand(Part::Value, range.start, head);
        // SAFETY: ranges are within `qkv`; no other task writes these rows of this head.
        unsafe { product([rows, width, range.len()], c, write, 1.0, shares, v) };
    }
}
