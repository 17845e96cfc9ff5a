//! Streaming tensors to a file, after a header that lists them.

use crate::quantize::{WrittenType, quantize};
use crate::{Error, Result};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// A tensor that is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTensor {
    /// Its name.
    pub name: String,
    /// Its shape, rows first. Rows of Q8_0 are multiples of 32.
    pub shape: Vec<usize>,
    /// How its numbers are stored.
    pub kind: WrittenType,
}

impl NewTensor {
    /// How many bytes it takes.
    pub(crate) fn bytes(&self) -> u64 {
        let kind = self.kind.tensor_type();
        let count: usize = self.shape.iter().product();
        (count / kind.block_len()) as u64 * kind.block_bytes() as u64
    }
}

/// Takes the numbers of a tensor in order, some whole blocks at a time.
pub type Sink<'a> = dyn FnMut(&[f32]) -> Result<()> + 'a;

/// Writes a file: its header, and its tensors, each filled up with zeros to a multiple of `alignment`
/// bytes. `fill` hands on the numbers of a tensor when it is given its place in `tensors`.
pub(crate) fn write(
    path: &Path,
    header: &[u8],
    tensors: &[NewTensor],
    alignment: u64,
    mut fill: impl FnMut(usize, &mut Sink<'_>) -> Result<()>,
) -> Result<()> {
    let mut failed = None;
    let written = rlhf_files::replace(path, |partial| {
        let mut file = BufWriter::new(File::create(partial)?);
        file.write_all(header)?;
        for (index, tensor) in tensors.iter().enumerate() {
            if let Err(error) = data(path, &mut file, tensor, alignment, |sink| fill(index, sink)) {
                failed = Some(error);
                return Err(std::io::Error::other("see the error beside"));
            }
        }
        file.flush()
    });
    match failed {
        Some(error) => Err(error),
        None => written.map_err(Error::io(path)),
    }
}

/// The numbers of one tensor, and zeros up to the next.
fn data(
    path: &Path,
    file: &mut impl Write,
    tensor: &NewTensor,
    alignment: u64,
    fill: impl FnOnce(&mut Sink<'_>) -> Result<()>,
) -> Result<()> {
    let (mut bytes, mut written) = (Vec::new(), 0);
    fill(&mut |values: &[f32]| {
        bytes.clear();
        quantize(tensor.kind, values, &mut bytes).map_err(|value| {
            let (name, kind) = (&tensor.name, tensor.kind.name());
            Error::invalid(
                path,
                if value.is_finite() { format!(
                    "tensor `{name}` has the value {value:e}, which {kind} cannot hold: write bf16 \
                     or f32"
                ) } else { format!("tensor `{name}` has the value {value}: the model is spoiled") },
            )
        })?;
        written += bytes.len() as u64;
        file.write_all(&bytes).map_err(Error::io(path))
    })?;
    let length = tensor.bytes();
    assert_eq!(
        written, length,
        "tensor {} has as many numbers as its shape",
        tensor.name
    );
    let padding = length.next_multiple_of(alignment) - length;
    file.write_all(&vec![0; padding as usize])
        .map_err(Error::io(path))
}
