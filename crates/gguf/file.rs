//! A GGUF file that is open for reading.

use crate::parse::{self, Header, TensorInfo};
use crate::{Array, Error, Result, Value, dequantize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Numbers that are read at a time: a multiple of every block's length.
const PIECE: usize = 1 << 18;

/// A GGUF file of version 2 or 3. Opening it reads its header; numbers are read when asked for, some at
/// a time.
#[derive(Debug)]
pub struct GgufFile {
    path: PathBuf,
    file: File,
    header: Header,
}

impl GgufFile {
    /// Opens a file and checks all that its header says.
    ///
    /// # Errors
    /// If it cannot be read, is no GGUF file, is truncated or contradicts itself; the message names the
    /// key or tensor.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io(path))?;
        let about = file.metadata().map_err(Error::io(path))?;
        if about.is_dir() {
            return Err(Error::invalid(
                path,
                "is a folder: name the GGUF file in it",
            ));
        }
        let header = parse::header(path, BufReader::new(&file), about.len())?;
        Ok(Self {
            path: path.into(),
            file,
            header,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All keys and their values.
    #[must_use]
    pub fn metadata(&self) -> &BTreeMap<String, Value> {
        &self.header.metadata
    }

    /// All tensors by name.
    #[must_use]
    pub fn tensors(&self) -> &BTreeMap<String, TensorInfo> {
        &self.header.tensors
    }

    /// Hands a tensor's numbers on in order, some at a time, as the `gguf` package dequantizes them.
    ///
    /// # Errors
    /// If the file cannot be read, or whatever `each` returns.
    pub fn read(
        &self,
        tensor: &TensorInfo,
        mut each: impl FnMut(&[f32]) -> Result<()>,
    ) -> Result<()> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(tensor.start))
            .map_err(Error::io(&self.path))?;
        let (len, size) = (tensor.kind.block_len(), tensor.kind.block_bytes());
        let count = tensor.count();
        let mut values = vec![0.0; PIECE.min(count)];
        let mut bytes = vec![0; values.len() / len * size];
        for start in (0..count).step_by(PIECE) {
            let values = &mut values[..PIECE.min(count - start)];
            let bytes = &mut bytes[..values.len() / len * size];
            file.read_exact(bytes).map_err(Error::io(&self.path))?;
            dequantize(tensor.kind, bytes, values);
            each(values)?;
        }
        Ok(())
    }

    /// Whether two tensors of the same type and shape have the same bytes.
    pub(crate) fn same_bytes(&self, one: &TensorInfo, other: &TensorInfo) -> Result<bool> {
        let mut file = &self.file;
        let mut bytes = |start, count| {
            let mut bytes = vec![0; count];
            file.seek(SeekFrom::Start(start))
                .map_err(Error::io(&self.path))?;
            file.read_exact(&mut bytes).map_err(Error::io(&self.path))?;
            Ok::<_, Error>(bytes)
        };
        for start in (0..one.bytes()).step_by(PIECE) {
            let count = (one.bytes() - start).min(PIECE as u64) as usize;
            if bytes(one.start + start, count)? != bytes(other.start + start, count)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Says what is wrong with this file.
    pub(crate) fn invalid(&self, message: impl std::fmt::Display) -> Error {
        Error::invalid(&self.path, message)
    }

    fn wrong(&self, key: &str, value: &Value, expected: &str) -> Error {
        let mut value = format!("{value:?}");
        if value.chars().count() > 60 {
            value = value.chars().take(60).chain("…".chars()).collect();
        }
        self.invalid(format!(
            "`{key}` is {value}, not {expected}: convert the model to GGUF again"
        ))
    }

    /// A count or an id, if the key is there.
    pub(crate) fn uint(&self, key: &str) -> Result<Option<u32>> {
        match self.metadata().get(key) {
            None => Ok(None),
            Some(Value::Integer(value, _)) if u32::try_from(*value).is_ok() => {
                Ok(Some(*value as u32))
            }
            Some(value) => Err(self.wrong(key, value, "a number from 0 to 2^32 - 1")),
        }
    }

    /// A finite float, if the key is there.
    pub(crate) fn float(&self, key: &str) -> Result<Option<f64>> {
        match self.metadata().get(key) {
            None => Ok(None),
            Some(Value::Float(value, _)) if value.is_finite() => Ok(Some(*value)),
            Some(value) => Err(self.wrong(key, value, "a finite number")),
        }
    }

    /// True or false, if the key is there.
    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.metadata().get(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(value) => Err(self.wrong(key, value, "true or false")),
        }
    }

    /// A text, if the key is there.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&str>> {
        match self.metadata().get(key) {
            None => Ok(None),
            Some(Value::String(value)) => Ok(Some(value)),
            Some(value) => Err(self.wrong(key, value, "a text")),
        }
    }

    /// Texts, if the key is there.
    pub(crate) fn strings(&self, key: &str) -> Result<Option<&[String]>> {
        match self.metadata().get(key) {
            None => Ok(None),
            Some(Value::Array(Array::Strings(values))) => Ok(Some(values)),
            Some(value) => Err(self.wrong(key, value, "a list of texts")),
        }
    }

    /// Numbers, if the key is there.
    pub(crate) fn numbers(&self, key: &str) -> Result<Option<Vec<f64>>> {
        match self.metadata().get(key) {
            None => Ok(None),
            Some(value @ Value::Array(array)) => match array.numbers() {
                Some(numbers) => Ok(Some(numbers)),
                None => Err(self.wrong(key, value, "a list of numbers")),
            },
            Some(value) => Err(self.wrong(key, value, "a list of numbers")),
        }
    }

    /// A value that must be there.
    pub(crate) fn required<T>(&self, key: &str, value: Result<Option<T>>) -> Result<T> {
        value?.ok_or_else(|| {
            self.invalid(format!(
                "has no `{key}`, which its model needs: convert the model to GGUF again"
            ))
        })
    }
}
