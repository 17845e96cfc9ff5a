//! The weights of a Hugging Face folder: `model.safetensors`, or shards with an index. Numbers are read
//! and written some at a time.

use crate::stream::{self, NewTensor, Sink};
use crate::{Error, Result, TensorType, WrittenType, dequantize};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

pub(crate) const MODEL: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// Numbers that are read at a time.
const PIECE: usize = 1 << 18;
/// The longest header that the library of safetensors reads.
const HEADER: u64 = 100_000_000;
/// The names of the types that are read.
const TYPES: [(&str, TensorType); 3] = [
    ("F32", TensorType::F32),
    ("F16", TensorType::F16),
    ("BF16", TensorType::Bf16),
];

/// A tensor of the folder.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) shape: Vec<usize>,
    pub(crate) kind: TensorType,
    file: usize,
    start: u64,
}

/// All tensors of a folder, by name.
#[derive(Debug)]
pub(crate) struct Weights {
    files: Vec<(PathBuf, File)>,
    entries: BTreeMap<String, Entry>,
}

impl Weights {
    /// Opens the files of a folder and checks their headers.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let (single, index) = (folder.join(MODEL), folder.join(INDEX));
        let mut weights = Self {
            files: Vec::new(),
            entries: BTreeMap::new(),
        };
        if single.exists() || !index.exists() {
            weights.add(&single)?;
            return Ok(weights);
        }
        let text = std::fs::read_to_string(&index).map_err(Error::io(&index))?;
        let wrong = || Error::invalid(&index, "has no `weight_map` of file names: copy it again");
        let json: Value = serde_json::from_str(&text).map_err(|_| wrong())?;
        let map = json["weight_map"].as_object().ok_or_else(wrong)?;
        let mut names = BTreeSet::new();
        for file in map.values() {
            let name = file.as_str().ok_or_else(wrong)?;
            if Path::new(name).file_name().is_none_or(|last| last != name) {
                return Err(wrong());
            }
            names.insert(name);
        }
        for name in names {
            weights.add(&folder.join(name))?;
        }
        Ok(weights)
    }

    /// Adds the tensors of one file.
    fn add(&mut self, path: &Path) -> Result<()> {
        let mut file = File::open(path).map_err(Error::io(path))?;
        let length = file.metadata().map_err(Error::io(path))?.len();
        let header = header(&mut file, length).map_err(Error::io(path))?;
        let whole = || {
            Error::invalid(
                path,
                "is not a whole safetensors file: download or write it again",
            )
        };
        let (start, header) = header.ok_or_else(whole)?;
        for (name, about) in header {
            if name == "__metadata__" {
                continue;
            }
            let named = about["dtype"].as_str().unwrap_or_default();
            let Some((_, kind)) = TYPES.iter().find(|(other, _)| *other == named) else {
                let message =
                    format!("tensor `{name}` is of type {named}: only F32, F16 and BF16 are read");
                return Err(Error::invalid(path, message));
            };
            let numbers = |value: &Value| -> Option<Vec<u64>> {
                value.as_array()?.iter().map(Value::as_u64).collect()
            };
            let shape = numbers(&about["shape"]).ok_or_else(whole)?;
            let bytes = shape
                .iter()
                .try_fold(kind.block_bytes() as u64, |all, size| {
                    all.checked_mul(*size)
                });
            let offsets = numbers(&about["data_offsets"]).ok_or_else(whole)?;
            let [from, to] = offsets[..] else {
                return Err(whole());
            };
            if to.checked_sub(from) != bytes || bytes.is_none() || to > length - start {
                return Err(whole());
            }
            let entry = Entry {
                shape: shape.iter().map(|size| *size as usize).collect(),
                kind: *kind,
                file: self.files.len(),
                start: start + from,
            };
            if self.entries.insert(name.clone(), entry).is_some() {
                let message = format!("has the tensor `{name}`, which another file has too");
                return Err(Error::invalid(path, message));
            }
        }
        self.files.push((path.into(), file));
        Ok(())
    }

    /// All tensors by name.
    pub(crate) fn entries(&self) -> &BTreeMap<String, Entry> {
        &self.entries
    }

    /// The file of a tensor.
    pub(crate) fn path(&self, entry: &Entry) -> &Path {
        &self.files[entry.file].0
    }

    /// Hands a tensor's numbers on in order, some at a time.
    pub(crate) fn read(
        &self,
        entry: &Entry,
        mut each: impl FnMut(&[f32]) -> Result<()>,
    ) -> Result<()> {
        let (path, mut file) = (&self.files[entry.file].0, &self.files[entry.file].1);
        let seek = SeekFrom::Start(entry.start);
        file.seek(seek).map_err(Error::io(path))?;
        let count: usize = entry.shape.iter().product();
        let mut values = vec![0.0; PIECE.min(count)];
        let mut bytes = vec![0; values.len() * entry.kind.block_bytes()];
        for start in (0..count).step_by(PIECE) {
            let values = &mut values[..PIECE.min(count - start)];
            let bytes = &mut bytes[..values.len() * entry.kind.block_bytes()];
            file.read_exact(bytes).map_err(Error::io(path))?;
            dequantize(entry.kind, bytes, values);
            each(values)?;
        }
        Ok(())
    }
}

/// Where a file's numbers start, and its header; none where it has no sound one.
fn header(file: &mut File, length: u64) -> std::io::Result<Option<(u64, Map<String, Value>)>> {
    let mut size = [0; 8];
    if length < 8 {
        return Ok(None);
    }
    file.read_exact(&mut size)?;
    let size = u64::from_le_bytes(size);
    if size > HEADER.min(length - 8) {
        return Ok(None);
    }
    let mut header = vec![0; size as usize];
    file.read_exact(&mut header)?;
    let header = serde_json::from_slice(&header).ok();
    Ok(header.map(|header| (8 + size, header)))
}

/// Writes `model.safetensors`, as [`crate::write`] writes a GGUF file. No type may be quantized.
pub(crate) fn write(
    path: &Path,
    tensors: &[NewTensor],
    fill: impl FnMut(usize, &mut Sink<'_>) -> Result<()>,
) -> Result<()> {
    let (mut header, mut offset) = (Map::new(), 0);
    header.insert("__metadata__".into(), json!({"format": "pt"}));
    for tensor in tensors {
        let dtype = match tensor.kind {
            WrittenType::F32 => "F32",
            WrittenType::F16 => "F16",
            WrittenType::Bf16 => "BF16",
            WrittenType::Q8_0 => unreachable!("safetensors has no quantized types"),
        };
        let offsets = [offset, offset + tensor.bytes()];
        offset = offsets[1];
        let about = json!({"dtype": dtype, "shape": tensor.shape, "data_offsets": offsets});
        header.insert(tensor.name.clone(), about);
    }
    let mut text = Value::Object(header).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text);
    stream::write(path, &bytes, tensors, 1, fill)
}
