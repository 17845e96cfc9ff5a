//! From the blocks of a file to numbers, as the `gguf` package of llama.cpp computes them (`quants.py`):
//! the same operations in f32 in the same order, so that results agree to the last bit.

use crate::TensorType;
use half::{bf16, f16};

/// Writes the numbers of whole blocks to `into`.
///
/// # Panics
/// If `bytes` are not the blocks of `into.len()` numbers.
pub fn dequantize(kind: TensorType, bytes: &[u8], into: &mut [f32]) {
    let blocks = into.len() / kind.block_len();
    assert_eq!(into.len(), blocks * kind.block_len(), "whole blocks");
    assert_eq!(
        bytes.len(),
        blocks * kind.block_bytes(),
        "bytes of {kind:?}"
    );
    let decode: fn(&[u8], &mut [f32]) = match kind {
        TensorType::F32 => |b, y| y[0] = f32::from_le_bytes([b[0], b[1], b[2], b[3]]),
        TensorType::F16 => |b, y| y[0] = half_at(b, 0),
        TensorType::Bf16 => |b, y| y[0] = bf16::from_le_bytes([b[0], b[1]]).to_f32(),
        TensorType::Q8_0 => q8_0,
        TensorType::Q4_0 => q4_0,
        TensorType::Q4_1 => q4_1,
        TensorType::Q5_0 => q5_0,
        TensorType::Q5_1 => q5_1,
        TensorType::Q4K => q4_k,
        TensorType::Q5K => q5_k,
        TensorType::Q6K => q6_k,
    };
    let blocks = bytes.chunks_exact(kind.block_bytes());
    for (block, y) in blocks.zip(into.chunks_exact_mut(kind.block_len())) {
        decode(block, y);
    }
}

/// The 16-bit float at a byte of a block.
fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// scale, then 32 signed bytes.
fn q8_0(block: &[u8], y: &mut [f32]) {
    let d = half_at(block, 0);
    for (y, q) in y.iter_mut().zip(&block[2..]) {
        *y = f32::from(q.cast_signed()) * d;
    }
}

/// The 4-bit numbers of 16 bytes: the lower halves of all bytes first, then the upper ones.
fn nibble(bytes: &[u8], i: usize) -> u8 {
    if i < 16 {
        bytes[i] & 15
    } else {
        bytes[i - 16] >> 4
    }
}

/// scale, then 16 bytes of 4-bit numbers.
fn q4_0(block: &[u8], y: &mut [f32]) {
    let d = half_at(block, 0);
    for (i, y) in y.iter_mut().enumerate() {
        *y = d * (f32::from(nibble(&block[2..], i)) - 8.0);
    }
}

/// scale, minimum, then 16 bytes of 4-bit numbers.
fn q4_1(block: &[u8], y: &mut [f32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    for (i, y) in y.iter_mut().enumerate() {
        *y = d * f32::from(nibble(&block[4..], i)) + m;
    }
}

/// The fifth bits of 32 numbers, in 4 bytes; each has the value 16.
fn fifth_bit(bytes: &[u8], i: usize) -> u8 {
    ((bytes[i / 8] >> (i % 8)) & 1) << 4
}

/// scale, 4 bytes of fifth bits, then 16 bytes of 4-bit numbers.
fn q5_0(block: &[u8], y: &mut [f32]) {
    let d = half_at(block, 0);
    for (i, y) in y.iter_mut().enumerate() {
        let q = nibble(&block[6..], i) | fifth_bit(&block[2..6], i);
        *y = d * (f32::from(q) - 16.0);
    }
}

/// scale, minimum, 4 bytes of fifth bits, then 16 bytes of 4-bit numbers.
fn q5_1(block: &[u8], y: &mut [f32]) {
    let (d, m) = (half_at(block, 0), half_at(block, 2));
    for (i, y) in y.iter_mut().enumerate() {
        let q = nibble(&block[8..], i) | fifth_bit(&block[4..8], i);
        *y = d * f32::from(q) + m;
    }
}

/// The 6-bit scale and minimum of the `i`-th of 8 groups, out of 12 bytes: those of the first four
/// groups lie in the lower 6 bits of bytes 0–3 and 4–7; the other four have their lower 4 bits in
/// bytes 8–11 and their upper 2 bits above the others.
fn scale_and_minimum(packed: &[u8], i: usize) -> (f32, f32) {
    let (scale, minimum) = if i < 4 {
        (packed[i] & 63, packed[i + 4] & 63)
    } else {
        (
            (packed[i + 4] & 15) | ((packed[i - 4] >> 2) & 48),
            (packed[i + 4] >> 4) | ((packed[i] >> 2) & 48),
        )
    };
    (f32::from(scale), f32::from(minimum))
}

/// scale of scales, scale of minima, 12 bytes of both, then 128 bytes of 4-bit numbers: each 32 bytes
/// hold 32 numbers in their lower halves and the next 32 in their upper ones.
fn q4_k(block: &[u8], y: &mut [f32]) {
    let (d, minimum) = (half_at(block, 0), half_at(block, 2));
    for (group, y) in y.chunks_exact_mut(32).enumerate() {
        let (scale, m) = scale_and_minimum(&block[4..16], group);
        let (d, m) = (d * scale, minimum * m);
        let bytes = &block[16 + 32 * (group / 2)..];
        let shift = 4 * (group % 2);
        for (y, byte) in y.iter_mut().zip(bytes) {
            *y = d * f32::from((byte >> shift) & 15) - m;
        }
    }
}

/// As [`q4_k`], with 32 bytes of fifth bits before the 4-bit numbers: bit `g` of byte `i` belongs to
/// number `i` of group `g`.
fn q5_k(block: &[u8], y: &mut [f32]) {
    let (d, minimum) = (half_at(block, 0), half_at(block, 2));
    for (group, y) in y.chunks_exact_mut(32).enumerate() {
        let (scale, m) = scale_and_minimum(&block[4..16], group);
        let (d, m) = (d * scale, minimum * m);
        let bytes = &block[48 + 32 * (group / 2)..];
        let shift = 4 * (group % 2);
        for ((y, byte), high) in y.iter_mut().zip(bytes).zip(&block[16..48]) {
            let q = ((byte >> shift) & 15) | (((high >> group) & 1) << 4);
            *y = d * f32::from(q) - m;
        }
    }
}

/// 128 bytes of lower 4 bits, 64 bytes of upper 2 bits, 16 signed scales, then the scale of scales.
/// Each half of the block has 64 bytes of the first and 32 of the second.
fn q6_k(block: &[u8], y: &mut [f32]) {
    let d = half_at(block, 208);
    for (group, y) in y.chunks_exact_mut(32).enumerate() {
        let (part, group_of_part) = (group / 4, group % 4);
        let low = &block[64 * part + 32 * (group_of_part % 2)..];
        let high = &block[128 + 32 * part..];
        let (low_shift, high_shift) = (4 * (group_of_part / 2), 2 * group_of_part);
        for (i, y) in y.iter_mut().enumerate() {
            let scale = d * f32::from(block[192 + 2 * group + i / 16].cast_signed());
            let q = ((low[i] >> low_shift) & 15) | (((high[i] >> high_shift) & 3) << 4);
            *y = scale * (f32::from(q) - 32.0);
        }
    }
}
