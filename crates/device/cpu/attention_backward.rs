//! The backward pass of attention over segments.

use super::attention::{Inputs, SCRATCH, check, grown, product, score, visible};
use super::matmul::Operand;
use super::segments::{Block, Segments};
use super::simd::{Isa, dispatch, dot, exp, isa};
use super::split::Shared;
use crate::{AttentionShape, Write};
use rayon::prelude::*;

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
    // Σ shares·gradient over the row is the product of output and its gradient.
    let mean = dot::<FUSED>(output, d_output);
    for (g, share) in gradient.iter_mut().zip(shares) {
        *g = share * (*g - mean) * scale;
    }
}
dispatch!(fn score_gradient = score_gradient_body(shares: &[f32], gradient: &mut [f32], output: &[f32], d_output: &[f32], scale: f32));

/// What [`attention`](super::attention()) was given and answered, for its backward pass.
#[derive(Debug, Clone, Copy)]
pub struct Attended<'a> {
    /// Queries, keys and values, [n, 3D].
    pub qkv: &'a [f32],
    /// The output, [n, D].
    pub output: &'a [f32],
    /// The logs of the denominators, [n, heads].
    pub log_sums: &'a [f32],
}

/// The backward pass of [`attention`](super::attention()): `d_output` [n, D] → `d_qkv` [n, 3D], overwritten. The
/// shares are computed again rather than kept, so that nothing of size rows × columns is.
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
    let isa = isa();
    let backward = Backward {
        isa,
        segments,
        attended,
        inputs: Inputs { shape, qkv },
        d_output,
    };
    let d_qkv = Shared::new(d_qkv);
    // Children add to their ancestors' keys and values, so a whole tree is one task per head.
    (0..segments.trees.len() * shape.heads)
        .into_par_iter()
        .for_each(|task| {
            let (tree, head) = (&segments.trees[task / shape.heads], task % shape.heads);
            SCRATCH.with_borrow_mut(|(shares, gradients)| {
                backward.tree(tree, head, shares, gradients, d_qkv);
            });
        });
}

/// The inputs of [`attention_backward`].
struct Backward<'a> {
    isa: Isa,
    segments: &'a Segments,
    attended: Attended<'a>,
    inputs: Inputs<'a>,
    d_output: &'a [f32],
}

impl Backward<'_> {
    #[allow(unsafe_code)]
    fn tree(
        &self,
        tree: &[usize],
        head: usize,
        shares: &mut Vec<f32>,
        gradients: &mut Vec<f32>,
        d_qkv: Shared<'_>,
    ) {
        let width = self.inputs.shape.head_width;
        let ranges = tree
            .iter()
            .filter_map(|segment| self.segments.keys[*segment].last());
        for row in ranges.flat_map(Clone::clone) {
            for part in 1..3 {
                let start = self.inputs.offset(part, row, head);
                // SAFETY: only this task has the rows of this tree in this head.
                unsafe { d_qkv.part(start..start + width) }.fill(0.0);
            }
        }
        // Blocks lie in the order of their segments.
        for segment in tree {
            let first = self
                .segments
                .blocks
                .partition_point(|block| block.segment < *segment);
            let blocks = self.segments.blocks[first..].iter();
            for block in blocks.take_while(|block| block.segment == *segment) {
                self.block(block, head, shares, gradients, d_qkv);
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
    ) {
        let inputs = self.inputs;
        let AttentionShape {
            heads: count,
            head_width: width,
            scale,
        } = inputs.shape;
        let (rows, d) = (block.rows.len(), count * width);
        let (keys, columns) = self.segments.columns(block);
        let shares = grown(shares, rows * columns);
        let gradients = grown(gradients, rows * columns);
        let at = block.rows.start * d + head * width;
        let d_output = Operand::rows(self.d_output[at..].as_ptr(), d);
        score(inputs, block, &keys, head, shares);
        for (range, first) in &keys {
            let v = inputs.operand(2, range.start, head).t();
            let c = (gradients[*first..].as_mut_ptr(), columns);
            // SAFETY: ranges are within `qkv`, columns within `gradients`.
            unsafe { product([rows, range.len(), width], c, Write::Over, 1.0, d_output, v) };
        }
        for i in 0..rows {
            let range = i * columns..(i + 1) * columns;
            let seen = visible(block, columns, i);
            let (shares, gradients) = (&mut shares[range.clone()], &mut gradients[range]);
            shares_again(
                self.isa,
                &mut shares[..seen],
                self.attended.log_sums[(block.rows.start + i) * count + head],
            );
            let output = &self.attended.output[at + i * d..][..width];
            let d_output = &self.d_output[at + i * d..][..width];
            score_gradient(
                self.isa,
                &shares[..seen],
                &mut gradients[..seen],
                output,
                d_output,
                scale,
            );
            shares[seen..].fill(0.0);
            gradients[seen..].fill(0.0);
        }
        let queries = inputs.operand(0, block.rows.start, head);
        let stride = inputs.stride();
        let target = |part, row| (d_qkv.pointer(inputs.offset(part, row, head)), stride);
        for (i, (range, first)) in keys.iter().enumerate() {
            let n = range.len();
            let shares = Operand::rows(shares[*first..].as_ptr(), columns).t();
            let scores = Operand::rows(gradients[*first..].as_ptr(), columns);
            let k = inputs.operand(1, range.start, head);
            let write = if i == 0 { Write::Over } else { Write::Add };
            // SAFETY: ranges are within `d_qkv`, and only this task has the rows of this tree in
            // this head.
            unsafe {
                product(
                    [rows, width, n],
                    target(0, block.rows.start),
                    write,
                    1.0,
                    scores,
                    k,
                );
                product(
                    [n, width, rows],
                    target(1, range.start),
                    Write::Add,
                    1.0,
                    scores.t(),
                    queries,
                );
                product(
                    [n, width, rows],
                    target(2, range.start),
                    Write::Add,
                    1.0,
                    shares,
                    d_output,
                );
            }
        }
    }
}
