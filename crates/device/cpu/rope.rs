//! Rotary position embeddings (Su et al. 2021) on rows of queries, keys and values.

use super::simd::{dispatch, fma, isa};
use super::split::over_rows;
use crate::AttentionShape;

/// The tables of a rotary embedding.
#[derive(Debug, Clone, Copy)]
pub struct HostRope<'a> {
    /// The cosine of each angle at each position, [positions, rotary/2].
    pub cos: &'a [f32],
    /// The sine of the same.
    pub sin: &'a [f32],
    /// How many numbers of each head are rotated.
    pub rotary: usize,
}

/// Which way to rotate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// By the angles.
    Forward,
    /// By the transposed rotation: the backward pass.
    Backward,
}

#[inline(always)]
fn turn_body<const FUSED: bool>(
    heads: &mut [f32],
    width: usize,
    cos: &[f32],
    sin: &[f32],
    turn: Turn,
) {
    let half = cos.len();
    let sign = match turn {
        Turn::Forward => 1.0,
        Turn::Backward => -1.0,
    };
    for head in heads.chunks_exact_mut(width) {
        let (a, b) = head[..2 * half].split_at_mut(half);
        for (((a, b), cos), sin) in a.iter_mut().zip(b).zip(cos).zip(sin) {
            let sin = sign * sin;
            let (x, y) = (*a, *b);
            *a = fma::<FUSED>(x, *cos, -(y * sin));
            *b = fma::<FUSED>(y, *cos, x * sin);
        }
    }
}
dispatch!(
    /// Rotates all heads of a row by the angles of its position.
    pub(super) fn turn_heads = turn_body(heads: &mut [f32], width: usize, cos: &[f32], sin: &[f32], turn: Turn));

/// Rotates the query and key heads of each row of `qkv` by its position, in place.
///
/// # Panics
/// If the sizes do not fit, or a position is beyond the tables.
pub fn rope(
    shape: AttentionShape,
    tables: HostRope<'_>,
    positions: &[u32],
    qkv: &mut [f32],
    turn: Turn,
) {
    let (row_width, half, isa) = (shape.qkv_width(), tables.rotary / 2, isa());
    assert_eq!(
        qkv.len(),
        positions.len() * row_width,
        "a position for each row"
    );
    assert!(
        half > 0 && tables.rotary == 2 * half && tables.rotary <= shape.head_width,
        "{} numbers to rotate of a head of {}",
        tables.rotary,
        shape.head_width
    );
    assert_eq!(tables.cos.len(), tables.sin.len(), "tables of one size");
    let rotated = shape.query_width() + shape.kv_width();
    over_rows(qkv, row_width, |first, rows| {
        let rows = rows.chunks_exact_mut(row_width).zip(&positions[first..]);
        for (row, position) in rows {
            let at = *position as usize * half;
            let (cos, sin) = (&tables.cos[at..at + half], &tables.sin[at..at + half]);
            turn_heads(isa, &mut row[..rotated], shape.head_width, cos, sin, turn);
        }
    });
}
