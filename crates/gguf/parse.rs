//! The header of a file: what it says of itself, checked against the file's length before anything is
//! allocated.

use crate::value::{Array, Value, ValueType};
use crate::{Error, Result, TensorType};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// The first four bytes of a file.
pub(crate) const MAGIC: [u8; 4] = *b"GGUF";
/// Where tensors begin, unless `general.alignment` says otherwise.
pub(crate) const ALIGNMENT: u64 = 32;
pub(crate) const ALIGNMENT_KEY: &str = "general.alignment";
/// The fewest bytes of a key with its value, and of a tensor's entry.
const ENTRY: [u64; 2] = [13, 32];
const DIMENSIONS: u32 = 4;
/// The longest names, in bytes: of keys as `gguf.md` says, of tensors as llama.cpp reads them.
const KEY: u64 = 65535;
const NAME: u64 = 64;

/// A tensor of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name.
    pub name: String,
    /// Its shape, rows first as in PyTorch; the file lists them the other way around.
    pub shape: Vec<usize>,
    /// How its numbers are stored.
    pub kind: TensorType,
    /// Its first byte in the file.
    pub(crate) start: u64,
}

impl TensorInfo {
    /// How many numbers it has.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shape.iter().product()
    }

    /// How many bytes it takes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        (self.count() / self.kind.block_len()) as u64 * self.kind.block_bytes() as u64
    }
}

/// What the header says.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) metadata: BTreeMap<String, Value>,
    pub(crate) tensors: BTreeMap<String, TensorInfo>,
}

/// Reads a header from a stream of `length` bytes.
pub(crate) fn header(path: &Path, stream: impl Read, length: u64) -> Result<Header> {
    let mut parser = Parser {
        path,
        stream,
        length,
        left: length,
    };
    parser.preamble()?;
    let [tensors, keys] = [
        parser.u64("the number of tensors")?,
        parser.u64("the number of keys")?,
    ];
    for (count, what, least) in [(keys, "keys", ENTRY[0]), (tensors, "tensors", ENTRY[1])] {
        if count > parser.left / least {
            let message = format!(
                "claims to have {count} {what}, which {} bytes cannot hold: the file is truncated or \
                 damaged; download it again",
                parser.left
            );
            return Err(parser.invalid(message));
        }
    }
    let mut metadata = BTreeMap::new();
    for _ in 0..keys {
        let (key, value) = parser.entry()?;
        if metadata.insert(key.clone(), value).is_some() {
            let message = format!("has the key `{key}` twice: convert the model to GGUF again");
            return Err(parser.invalid(message));
        }
    }
    let mut infos = Vec::new();
    for _ in 0..tensors {
        infos.push(parser.tensor()?);
    }
    let tensors = parser.place(infos, alignment(&metadata).map_err(|m| parser.invalid(m))?)?;
    Ok(Header { metadata, tensors })
}

/// The alignment of tensors, in bytes.
fn alignment(metadata: &BTreeMap<String, Value>) -> std::result::Result<u64, String> {
    match metadata.get(ALIGNMENT_KEY) {
        None => Ok(ALIGNMENT),
        Some(Value::Integer(value, _))
            if (1..=1 << 30).contains(value) && value & (value - 1) == 0 =>
        {
            Ok(*value as u64)
        }
        Some(value) => Err(format!(
            "`{ALIGNMENT_KEY}` is {value:?}, which is not a power of two up to 2^30: convert the model \
             to GGUF again"
        )),
    }
}

struct Parser<'a, R> {
    path: &'a Path,
    stream: R,
    length: u64,
    left: u64,
}

impl<R: Read> Parser<'_, R> {
    fn invalid(&self, message: impl std::fmt::Display) -> Error {
        Error::invalid(self.path, message)
    }

    /// The next bytes, of which there are at most as many as the file has.
    fn bytes(&mut self, count: u64, what: &str) -> Result<Vec<u8>> {
        if count > self.left {
            return Err(self.invalid(format!(
                "ends within {what}, at byte {}: the file is truncated or damaged; download it again",
                self.length
            )));
        }
        let mut bytes = vec![0; count as usize];
        self.stream
            .read_exact(&mut bytes)
            .map_err(Error::io(self.path))?;
        self.left -= count;
        Ok(bytes)
    }

    fn fixed<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let bytes = self.bytes(N as u64, what)?;
        Ok(bytes.try_into().expect("as many as were asked for"))
    }

    fn u32(&mut self, what: &str) -> Result<u32> {
        self.fixed(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: &str) -> Result<u64> {
        self.fixed(what).map(u64::from_le_bytes)
    }

    fn string(&mut self, what: &str, longest: u64) -> Result<String> {
        let length = self.u64(what)?;
        if length > longest {
            return Err(self.invalid(format!(
                "{what} claims to have {length} bytes: the file is truncated or damaged; download it again"
            )));
        }
        let bytes = self.bytes(length, what)?;
        String::from_utf8(bytes).map_err(|error| {
            let text = String::from_utf8_lossy(error.as_bytes());
            let text: String = text.chars().take(40).collect();
            self.invalid(format!(
                "{what} is not UTF-8 ({text:?}): the file is damaged; download it again"
            ))
        })
    }

    /// The magic number and the version.
    fn preamble(&mut self) -> Result<()> {
        if self.length < 4 {
            return Err(
                self.invalid("is not a GGUF file: it has fewer than 4 bytes; download it again")
            );
        }
        let magic: [u8; 4] = self.fixed("the magic number")?;
        if magic != MAGIC {
            let help = match &magic {
                b"vers" => "it is a pointer of Git LFS; fetch the file with `git lfs pull`",
                b"ggjt" | b"ggla" | b"lmgg" | b"tjgg" => {
                    "it is of llama.cpp's older format; convert the original model to GGUF"
                }
                b"FUGG" => {
                    "it is big-endian; convert the original model on a little-endian machine"
                }
                _ => {
                    "it does not start with `GGUF`; llama2.c's .bin files become GGUF by llama.cpp's \
                     llama-convert-llama2c-to-ggml, other models by its convert_hf_to_gguf.py"
                }
            };
            return Err(self.invalid(format!("is not a GGUF file: {help}")));
        }
        match self.u32("the version")? {
            2 | 3 => Ok(()),
            version if (2..=3).contains(&version.swap_bytes()) => Err(self.invalid(
                "is a big-endian GGUF file, which is not read: convert the original model with \
                 little-endian byte order",
            )),
            version => Err(self.invalid(format!(
                "is of GGUF version {version}; versions 2 and 3 are read: convert the original model \
                 with a current llama.cpp"
            ))),
        }
    }

    fn entry(&mut self) -> Result<(String, Value)> {
        let key = self.string("a metadata key", KEY)?;
        let kind = self.value_type(&key)?;
        let what = format!("the value of `{key}`");
        let value = match kind {
            ValueType::String => Value::String(self.string(&what, u64::MAX)?),
            ValueType::Array => Value::Array(self.array(&key, &what)?),
            number => {
                let bytes = self.bytes(number.bytes() as u64, &what)?;
                Value::from_bytes(number, &bytes).expect("a number")
            }
        };
        Ok((key, value))
    }

    fn value_type(&mut self, key: &str) -> Result<ValueType> {
        let number = self.u32(&format!("the type of `{key}`"))?;
        ValueType::from_number(number).ok_or_else(|| {
            self.invalid(format!(
                "`{key}` has a value of the unknown type {number}: the file is damaged, or newer than \
                 GGUF 3"
            ))
        })
    }

    fn array(&mut self, key: &str, what: &str) -> Result<Array> {
        let kind = self.value_type(key)?;
        let count = self.u64(what)?;
        if kind == ValueType::Array {
            return Err(self.invalid(format!(
                "`{key}` is an array of arrays, which is not read: convert the model to GGUF again"
            )));
        }
        if count > self.left / kind.bytes() as u64 {
            return Err(self.invalid(format!(
                "`{key}` claims to have {count} values, which the {} bytes that are left cannot hold: \
                 the file is truncated or damaged; download it again",
                self.left
            )));
        }
        if kind != ValueType::String {
            let bytes = self.bytes(count * kind.bytes() as u64, what)?;
            return Ok(Array::Numbers { kind, bytes });
        }
        let mut strings = Vec::new();
        for _ in 0..count {
            strings.push(self.string(what, u64::MAX)?);
        }
        Ok(Array::Strings(strings))
    }

    /// A tensor's entry; `start` counts from where tensors begin.
    fn tensor(&mut self) -> Result<TensorInfo> {
        let name = self.string("a tensor's name", NAME)?;
        let what = format!("the entry of tensor `{name}`");
        let dimensions = self.u32(&what)?;
        if !(1..=DIMENSIONS).contains(&dimensions) {
            return Err(self.invalid(format!(
                "tensor `{name}` has {dimensions} dimensions; 1 to {DIMENSIONS} are possible: the file \
                 is damaged; download it again"
            )));
        }
        let (mut shape, mut count) = (Vec::new(), 1u64);
        for _ in 0..dimensions {
            let size = self.u64(&what)?;
            count = match count.checked_mul(size) {
                Some(count) if count > 0 && count <= 1 << 48 => count,
                _ => {
                    return Err(self.invalid(format!(
                        "tensor `{name}` claims a dimension of {size}: the file is damaged; download it \
                         again"
                    )));
                }
            };
            shape.insert(0, size as usize);
        }
        let kind = TensorType::from_number(self.u32(&what)?).map_err(|kind| {
            self.invalid(format!(
                "tensor `{name}` is of type {kind}, which is not read: take a file whose tensors are of \
                 the types {}",
                TensorType::names()
            ))
        })?;
        let width = shape[shape.len() - 1];
        if width % kind.block_len() != 0 {
            return Err(self.invalid(format!(
                "tensor `{name}` has rows of {width} numbers, which are not blocks of {} as {} stores \
                 them: the file is damaged; download it again",
                kind.block_len(),
                kind.name()
            )));
        }
        let start = self.u64(&what)?;
        Ok(TensorInfo {
            name,
            shape,
            kind,
            start,
        })
    }

    /// Has each tensor start at its byte of the file, and checks that each is in the file, aligned, and
    /// apart from the others.
    fn place(
        &self,
        mut infos: Vec<TensorInfo>,
        alignment: u64,
    ) -> Result<BTreeMap<String, TensorInfo>> {
        let data = (self.length - self.left).next_multiple_of(alignment);
        for info in &mut infos {
            let end = info
                .start
                .checked_add(info.bytes())
                .and_then(|end| end.checked_add(data));
            if info.start % alignment != 0 || end.is_none_or(|end| end > self.length) {
                return Err(self.invalid(format!(
                    "tensor `{}` of {} bytes at offset {} is outside the file of {} bytes or not \
                     aligned to {alignment}: the file is truncated or damaged; download it again",
                    info.name,
                    info.bytes(),
                    info.start,
                    self.length
                )));
            }
            info.start += data;
        }
        infos.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some(pair) = infos.windows(2).find(|pair| pair[0].name == pair[1].name) {
            return Err(self.invalid(format!(
                "has the tensor `{}` twice: convert the model to GGUF again",
                pair[0].name
            )));
        }
        infos.sort_by_key(|info| info.start);
        for pair in infos.windows(2) {
            if pair[0].start + pair[0].bytes() > pair[1].start {
                return Err(self.invalid(format!(
                    "tensors `{}` and `{}` overlap: the file is damaged; download it again",
                    pair[0].name, pair[1].name
                )));
            }
        }
        let named = infos.into_iter().map(|info| (info.name.clone(), info));
        Ok(named.collect())
    }
}
