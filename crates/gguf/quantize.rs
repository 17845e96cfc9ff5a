//! From numbers to the blocks of a file, rounded as llama.cpp rounds them.

use crate::TensorType;
use half::{bf16, f16};

/// The types that are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrittenType {
    /// 32-bit floats.
    F32,
    /// 16-bit IEEE floats, to the nearest, ties to even.
    F16,
    /// bfloat16, to the nearest, ties to even.
    Bf16,
    /// Blocks of 32 signed bytes with one scale.
    Q8_0,
}

impl WrittenType {
    /// Every type, in the order in which help lists them.
    pub const ALL: [Self; 4] = [Self::F32, Self::F16, Self::Bf16, Self::Q8_0];

    /// What a user calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8_0 => "q8_0",
        }
    }

    /// The type of tensors.
    #[must_use]
    pub fn tensor_type(self) -> TensorType {
        match self {
            Self::F32 => TensorType::F32,
            Self::F16 => TensorType::F16,
            Self::Bf16 => TensorType::Bf16,
            Self::Q8_0 => TensorType::Q8_0,
        }
    }
}

/// Appends the blocks of `values` to `bytes`. Where a value is infinite or not a number in the type,
/// such a value is the error.
///
/// # Panics
/// If `values` are not whole blocks.
pub(crate) fn quantize(kind: WrittenType, values: &[f32], bytes: &mut Vec<u8>) -> Result<(), f32> {
    if let Some(value) = values.iter().find(|value| !value.is_finite()) {
        return Err(*value);
    }
    match kind {
        WrittenType::F32 => bytes.extend(values.iter().flat_map(|x| x.to_le_bytes())),
        WrittenType::F16 => {
            for &x in values {
                let rounded = f16::from_f32(x);
                if !rounded.is_finite() {
                    return Err(x);
                }
                bytes.extend(rounded.to_le_bytes());
            }
        }
        WrittenType::Bf16 => {
            for &x in values {
                let rounded = bf16::from_f32(x);
                if !rounded.is_finite() {
                    return Err(x);
                }
                bytes.extend(rounded.to_le_bytes());
            }
        }
        WrittenType::Q8_0 => {
            assert_eq!(
                values.len() % TensorType::Q8_0.block_len(),
                0,
                "whole blocks"
            );
            for block in values.chunks_exact(TensorType::Q8_0.block_len()) {
                q8_0(block, bytes)?;
            }
        }
    }
    Ok(())
}

/// A scale, the largest magnitude over 127, and each number over the scale before it is rounded to
/// f16, to the nearest, ties away from zero (`quantize_row_q8_0_ref` in `ggml-quants.c`).
fn q8_0(block: &[f32], bytes: &mut Vec<u8>) -> Result<(), f32> {
    let largest = block.iter().fold(0.0f32, |most, x| most.max(x.abs()));
    let d = largest / 127.0;
    let inverse = if d == 0.0 { 0.0 } else { 1.0 / d };
    let scale = f16::from_f32(d);
    if !scale.is_finite() {
        return Err(largest);
    }
    bytes.extend(scale.to_le_bytes());
    // `inverse` is infinite where `d` is below the smallest normal number; the cast saturates.
    bytes.extend(
        block
            .iter()
            .map(|x| ((x * inverse).round() as i8).cast_unsigned()),
    );
    Ok(())
}
