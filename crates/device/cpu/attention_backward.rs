//! The backward pass of attention over segments.

use super::Buffer;
use super::attention::{Inputs, Part, SCRATCH, check, grown, product, score};
use super::gemm_f32::Operand;
use super::segments::{Block, Segments};
use super::simd::{Isa, dispatch, dot, exp, isa};
use super::split::{Shared, over_rows};
use crate::{AttentionShape, Write};
use rayon::prelude::*;
use std::cell::RefCell;
use std::ops::Range;

#[inline(always)]
fn shares_body<const FUSED: bool>(row: &mut [f32], log_sum: f32) {
    row.iter_mut().for_each(|x| *x = exp::<FUSED>(*x - log_sum));
}
dispatch!(fn shares_again = shares_body(row: &mut [f32], log_sum: f32));

#[inline(always)]
fn score_gradient_body<const FUSED: bool>(
    shares: &[f32],
    gradient: &mut [f32],
    output: &[f32],
    d_output: &[f32],
    scale: f32,
) {
    // Σ shares·gradient over the row is the dot product of the output and its gradient.
    let mean = dot::<FUSED>(output, d_output);
    for (g, share) in gradient.iter_mut().zip(shares) {
        *g = share * (*g - mean) * scale;
    }
}
dispatch!(fn score_gradient = score_gradient_body(shares: &[f32], gradient: &mut [f32], output: &[f32], d_output: &[f32], scale: f32));

/// The input and the results of [`attention`](super::attention()), for its backward pass.
#[derive(Debug, Clone, Copy)]
pub struct Attended<'a> {
    /// Queries, keys and values, [n, qkv width].
    pub qkv: &'a [f32],
    /// The output, [n, query width].
    pub output: &'a [f32],
    /// The log of each softmax's denominator, [n, heads].
    pub log_sums: &'a [f32],
}

/// The backward pass of [`attention`](super::attention()): `d_output` [n, query width] → `d_qkv` [n, qkv
/// width], overwritten. The softmax is computed again, so that no matrix of rows × columns is kept.
///
/// # Panics
/// If the sizes do not fit.
pub fn attention_backward(
    segments: &Segments,
    shape: AttentionShape,
    attended: Attended<'_>,
    d_output: &[f32],
    d_qkv: &mut [f32],
) {
    let Attended {
        qkv,
        output,
        log_sums,
    } = attended;
    check(segments, shape, qkv, output, log_sums);
    assert_eq!((d_qkv.len(), d_output.len()), (qkv.len(), output.len()));
    let backward = Backward {
        isa: isa(),
        segments,
        attended,
        inputs: Inputs { shape, qkv },
        d_output,
    };
    if shape.group() == 1 {
        let d_qkv = Shared::new(d_qkv);
        backward.trees(&segments.trees, d_qkv, KeyGradients::InPlace(d_qkv));
    } else {
        backward.grouped(d_qkv);
    }
}

/// The inputs of [`attention_backward`].
struct Backward<'a> {
    isa: Isa,
    segments: &'a Segments,
    attended: Attended<'a>,
    inputs: Inputs<'a>,
    d_output: &'a [f32],
}

/// The destination of the gradients of keys and values.
#[derive(Clone, Copy)]
enum KeyGradients<'a> {
    /// The gradient of qkv, if each query head has keys and values of its own.
    InPlace(Shared<'a>),
    /// A buffer with a place for each query head, [rows, 2, query width], if query heads share keys and values.
    /// Its first row is this row of the batch. Heads are then independent tasks, and are summed afterwards in
    /// a fixed order.
    Apart(Shared<'a>, usize),
}

impl KeyGradients<'_> {
    /// The offset of a query head's vector.
    fn offset(self, inputs: Inputs<'_>, part: Part, row: usize, head: usize) -> usize {
        match self {
            Self::InPlace(_) => inputs.offset(part, row, head),
            Self::Apart(_, first) => {
                let (heads, width) = (inputs.shape.heads, inputs.shape.head_width);
                let part = usize::from(part == Part::Value);
                (((row - first) * 2 + part) * heads + head) * width
            }
        }
    }

    fn memory(&self) -> Shared<'_> {
        match *self {
            Self::InPlace(memory) | Self::Apart(memory, _) => memory,
        }
    }

    /// Floats between rows.
    fn stride(self, inputs: Inputs<'_>) -> usize {
        match self {
            Self::InPlace(_) => inputs.stride(),
            Self::Apart(..) => 2 * inputs.shape.query_width(),
        }
    }
}

/// The size of that buffer in floats (16 MiB); a single tree may need more.
const APART: usize = 1 << 22;

thread_local! {
    /// The gradients of keys and values, by query head.
    static BY_HEAD: RefCell<Buffer> = RefCell::default();
}

#[inline(always)]
fn add_heads_body<const FUSED: bool>(
    by_head: &[f32],
    group: usize,
    sums: &mut [f32],
    width: usize,
) {
    let sums = sums.chunks_exact_mut(width);
    for (sums, heads) in sums.zip(by_head.chunks_exact(group * width)) {
        sums.copy_from_slice(&heads[..width]);
        for head in heads[width..].chunks_exact(width) {
            sums.iter_mut().zip(head).for_each(|(sum, x)| *sum += x);
        }
    }
}
dispatch!(
    /// Sums the query heads of each group.
    fn add_heads = add_heads_body(by_head: &[f32], group: usize, sums: &mut [f32], width: usize));

impl Backward<'_> {
    /// The rows of the segments of a tree.
    fn rows(&self, tree: &[usize]) -> impl Iterator<Item = Range<usize>> {
        let own = |segment: &usize| self.segments.keys[*segment].last().cloned();
        tree.iter().filter_map(own)
    }

    /// The pass for query heads that share keys and values: as many trees at a time as the buffer has room
    /// for.
    fn grouped(&self, d_qkv: &mut [f32]) {
        let shape = self.inputs.shape;
        let (queries, keys) = (shape.query_width(), shape.kv_width());
        // The buffer is taken, not borrowed: a thread that waits in rayon may start another pass.
        let mut memory = BY_HEAD.take();
        let mut rest = &self.segments.trees[..];
        while !rest.is_empty() {
            let mut span = usize::MAX..0;
            let fits = |tree: &&Vec<usize>| {
                let grown = self.rows(tree).fold(span.clone(), |span, rows| {
                    span.start.min(rows.start)..span.end.max(rows.end)
                });
                let fits = span.is_empty() || grown.len() * 2 * queries <= APART;
                span = if fits { grown } else { span.clone() };
                fits
            };
            let count = rest.iter().take_while(fits).count();
            let trees;
            (trees, rest) = rest.split_at(count);
            let by_head = memory.at_least(span.len() * 2 * queries);
            let apart = KeyGradients::Apart(Shared::new(by_head), span.start);
            self.trees(trees, Shared::new(d_qkv), apart);
            for rows in trees.iter().flat_map(|tree| self.rows(tree)) {
                let first = rows.start;
                let d_rows = &mut d_qkv[first * self.inputs.stride()..];
                let d_rows = &mut d_rows[..rows.len() * self.inputs.stride()];
                over_rows(d_rows, self.inputs.stride(), |offset, d_rows| {
                    let by_head = memory[(first + offset - span.start) * 2 * queries..]
                        .chunks_exact(2 * queries);
                    for (d_row, by_head) in
                        d_rows.chunks_exact_mut(self.inputs.stride()).zip(by_head)
                    {
                        let sums = &mut d_row[queries..queries + 2 * keys];
                        add_heads(self.isa, by_head, shape.group(), sums, shape.head_width);
                    }
                });
            }
        }
        BY_HEAD.set(memory);
    }

    /// The pass over some trees. Children add to the gradients of their ancestors' keys and values, so a task is
    /// a whole tree and one head.
    fn trees(&self, trees: &[Vec<usize>], d_qkv: Shared<'_>, d_keys: KeyGradients<'_>) {
        let heads = self.inputs.shape.heads;
        (0..trees.len() * heads).into_par_iter().for_each(|task| {
            let (tree, head) = (&trees[task / heads], task % heads);
            SCRATCH.with_borrow_mut(|(shares, gradients)| {
                self.tree(tree, head, shares, gradients, d_qkv, d_keys);
            });
        });
    }

    #[allow(unsafe_code)]
    fn tree(
        &self,
        tree: &[usize],
        head: usize,
        shares: &mut Vec<f32>,
        gradients: &mut Vec<f32>,
        d_qkv: Shared<'_>,
        d_keys: KeyGradients<'_>,
    ) {
        let width = self.inputs.shape.head_width;
        for row in self.rows(tree).flatten() {
            for part in [Part::Key, Part::Value] {
                let start = d_keys.offset(self.inputs, part, row, head);
                // SAFETY: only this task has the rows of this tree in this head.
                unsafe { d_keys.memory().part(start..start + width) }.fill(0.0);
            }
        }
        // Blocks are in the order of their segments.
        for segment in tree {
            let first = self
                .segments
                .blocks
                .partition_point(|block| block.segment < *segment);
            let blocks = self.segments.blocks[first..].iter();
            for block in blocks.take_while(|block| block.segment == *segment) {
                self.block(block, head, shares, gradients, d_qkv, d_keys);
            }
        }
    }

    #[allow(unsafe_code)]
    fn block(
        &self,
        block: &Block,
        head: usize,
        shares: &mut Vec<f32>,
        gradients: &mut Vec<f32>,
        d_qkv: Shared<'_>,
        d_keys: KeyGradients<'_>,
    ) {
        let inputs = self.inputs;
        let (count, width) = (inputs.shape.heads, inputs.shape.head_width);
        let (rows, d) = (block.rows.len(), count * width);
        let keys = self.segments.keys(block, inputs.shape.window);
        let columns = keys.columns;
        let shares = grown(shares, rows * columns);
        let gradients = grown(gradients, rows * columns);
        let at = block.rows.start * d + head * width;
        let d_output = Operand::rows(self.d_output[at..].as_ptr(), d);
        score(inputs, block, &keys, head, shares);
        for (range, first) in &keys.ranges {
            let v = inputs.operand(Part::Value, range.start, head).t();
            let c = (gradients[*first..].as_mut_ptr(), columns);
            // SAFETY: ranges are within `qkv`, columns within `gradients`.
            unsafe { product([rows, range.len(), width], c, Write::Over, 1.0, d_output, v) };
        }
        for i in 0..rows {
            let range = i * columns..(i + 1) * columns;
            let visible = keys.visible(i);
            let (shares, gradients) = (&mut shares[range.clone()], &mut gradients[range]);
            for hidden in [0..visible.start, visible.end..columns] {
                shares[hidden.clone()].fill(0.0);
                gradients[hidden].fill(0.0);
            }
            let (shares, gradients) = (&mut shares[visible.clone()], &mut gradients[visible]);
            let log_sum = self.attended.log_sums[(block.rows.start + i) * count + head];
            shares_again(self.isa, shares, log_sum);
            let output = &self.attended.output[at + i * d..][..width];
            let d_output = &self.d_output[at + i * d..][..width];
            let scale = inputs.shape.scale;
            score_gradient(self.isa, shares, gradients, output, d_output, scale);
        }
        let queries = inputs.operand(Part::Query, block.rows.start, head);
        let d_queries = inputs.offset(Part::Query, block.rows.start, head);
        let d_queries = (d_qkv.pointer(d_queries), inputs.stride());
        let stride = d_keys.stride(inputs);
        let target = |part, row| {
            let offset = d_keys.offset(inputs, part, row, head);
            (d_keys.memory().pointer(offset), stride)
        };
        for (i, (range, first)) in keys.ranges.iter().enumerate() {
            let n = range.len();
            let shares = Operand::rows(shares[*first..].as_ptr(), columns).t();
            let scores = Operand::rows(gradients[*first..].as_ptr(), columns);
            let k = inputs.operand(Part::Key, range.start, head);
            let write = if i == 0 { Write::Over } else { Write::Add };
            let d_key = target(Part::Key, range.start);
            let d_value = target(Part::Value, range.start);
            // SAFETY: ranges are within `d_qkv` and the memory of `d_keys`, and only this task has the rows
            // of this tree in this head.
            unsafe {
                product([rows, width, n], d_queries, write, 1.0, scores, k);
                product(
                    [n, width, rows],
                    d_key,
                    Write::Add,
                    1.0,
                    scores.t(),
                    queries,
                );
                product([n, width, rows], d_value, Write::Add, 1.0, shares, d_output);
            }
        }
    }
}
