//! Writing a GGUF file of version 3, whole or not at all.

use crate::Result;
use crate::parse::{ALIGNMENT, MAGIC};
use crate::stream::{self, NewTensor, Sink};
use crate::value::{Value, write_string};
use std::path::Path;

const VERSION: u32 = 3;

/// Writes a file: its metadata in this order, and its tensors, whose numbers `fill` hands on when it is
/// given a tensor's place in `tensors`. Little is in memory at a time.
///
/// # Errors
/// If the file cannot be written, a number does not fit its tensor's type, or whatever `fill` returns.
/// Then a file that was there before is unchanged.
pub fn write(
    path: &Path,
    metadata: &[(String, Value)],
    tensors: &[NewTensor],
    fill: impl FnMut(usize, &mut Sink<'_>) -> Result<()>,
) -> Result<()> {
    stream::write(path, &header(metadata, tensors), tensors, ALIGNMENT, fill)
}

/// Everything before the tensors' numbers.
fn header(metadata: &[(String, Value)], tensors: &[NewTensor]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((tensors.len() as u64).to_le_bytes());
    bytes.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        write_string(key, &mut bytes);
        bytes.extend(value.kind().number().to_le_bytes());
        value.write(&mut bytes);
    }
    let mut offset = 0u64;
    for tensor in tensors {
        write_string(&tensor.name, &mut bytes);
        bytes.extend((tensor.shape.len() as u32).to_le_bytes());
        for size in tensor.shape.iter().rev() {
            bytes.extend((*size as u64).to_le_bytes());
        }
        bytes.extend(tensor.kind.tensor_type().number().to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        offset += tensor.bytes().next_multiple_of(ALIGNMENT);
    }
    let length = bytes.len().next_multiple_of(ALIGNMENT as usize);
    bytes.resize(length, 0);
    bytes
}
