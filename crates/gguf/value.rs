//! The values of a file's metadata.

/// The types of a metadata value, with their numbers in a file (`gguf.md`, `gguf_metadata_value_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    /// An unsigned byte.
    U8,
    /// A signed byte.
    I8,
    /// An unsigned 16-bit integer.
    U16,
    /// A signed 16-bit integer.
    I16,
    /// An unsigned 32-bit integer.
    U32,
    /// A signed 32-bit integer.
    I32,
    /// A 32-bit float.
    F32,
    /// A byte that is 0 or 1.
    Bool,
    /// A length and UTF-8 text.
    String,
    /// Values of one type.
    Array,
    /// An unsigned 64-bit integer.
    U64,
    /// A signed 64-bit integer.
    I64,
    /// A 64-bit float.
    F64,
}

impl ValueType {
    const ALL: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::String,
        Self::Array,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    /// The type of this number, if there is one.
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.get(number as usize).copied()
    }

    /// Its number in a file.
    pub(crate) fn number(self) -> u32 {
        self as u32
    }

    /// The bytes of a value; of a string, of its length.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::String | Self::U64 | Self::I64 | Self::F64 => 8,
            Self::Array => 12,
        }
    }
}

/// A metadata value. All integers are one variant, for nobody cares which width a writer chose.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// An integer, and the type that it has in the file.
    Integer(i128, ValueType),
    /// A float, and the type that it has in the file.
    Float(f64, ValueType),
    /// True or false.
    Bool(bool),
    /// Text.
    String(String),
    /// An array.
    Array(Array),
}

/// An array of a file's metadata.
#[derive(Debug, Clone, PartialEq)]
pub enum Array {
    /// Texts.
    Strings(Vec<String>),
    /// Numbers or booleans, as the bytes of the file: vocabularies have some 10⁵ of them.
    Numbers {
        /// The type of each.
        kind: ValueType,
        /// Little-endian bytes of all.
        bytes: Vec<u8>,
    },
}

impl Value {
    /// An unsigned 32-bit integer, the type of counts and ids.
    #[must_use]
    pub fn u32(value: u32) -> Self {
        Self::Integer(value.into(), ValueType::U32)
    }

    /// A 32-bit float.
    #[must_use]
    pub fn f32(value: f32) -> Self {
        Self::Float(value.into(), ValueType::F32)
    }

    /// An array of texts.
    #[must_use]
    pub fn strings(values: Vec<String>) -> Self {
        Self::Array(Array::Strings(values))
    }

    /// An array of 32-bit integers.
    #[must_use]
    pub fn i32s(values: &[i32]) -> Self {
        Self::Array(Array::Numbers {
            kind: ValueType::I32,
            bytes: values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        })
    }

    /// An array of 32-bit floats.
    #[must_use]
    pub fn f32s(values: &[f32]) -> Self {
        Self::Array(Array::Numbers {
            kind: ValueType::F32,
            bytes: values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        })
    }

    /// An array of truth values.
    #[must_use]
    pub fn bools(values: &[bool]) -> Self {
        Self::Array(Array::Numbers {
            kind: ValueType::Bool,
            bytes: values.iter().map(|x| u8::from(*x)).collect(),
        })
    }

    /// Its type in a file.
    #[must_use]
    pub fn kind(&self) -> ValueType {
        match self {
            Self::Integer(_, kind) | Self::Float(_, kind) => *kind,
            Self::Bool(_) => ValueType::Bool,
            Self::String(_) => ValueType::String,
            Self::Array(_) => ValueType::Array,
        }
    }

    /// A number of some bytes; none where the type is not one of numbers.
    pub(crate) fn from_bytes(kind: ValueType, bytes: &[u8]) -> Option<Self> {
        let mut wide = [0; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        let unsigned = u64::from_le_bytes(wide);
        let unused = 64 - 8 * bytes.len();
        let signed = (unsigned << unused).cast_signed() >> unused;
        Some(match kind {
            ValueType::U8 | ValueType::U16 | ValueType::U32 | ValueType::U64 => {
                Self::Integer(unsigned.into(), kind)
            }
            ValueType::I8 | ValueType::I16 | ValueType::I32 | ValueType::I64 => {
                Self::Integer(signed.into(), kind)
            }
            ValueType::F32 => Self::Float(f32::from_bits(unsigned as u32).into(), kind),
            ValueType::F64 => Self::Float(f64::from_bits(unsigned), kind),
            ValueType::Bool => Self::Bool(unsigned != 0),
            ValueType::String | ValueType::Array => return None,
        })
    }

    /// Appends its bytes in a file, without its type.
    pub(crate) fn write(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Integer(value, kind) => bytes.extend(&value.to_le_bytes()[..kind.bytes()]),
            Self::Float(value, ValueType::F32) => bytes.extend((*value as f32).to_le_bytes()),
            Self::Float(value, _) => bytes.extend(value.to_le_bytes()),
            Self::Bool(value) => bytes.push((*value).into()),
            Self::String(value) => write_string(value, bytes),
            Self::Array(Array::Strings(values)) => {
                bytes.extend(ValueType::String.number().to_le_bytes());
                bytes.extend((values.len() as u64).to_le_bytes());
                values.iter().for_each(|value| write_string(value, bytes));
            }
            Self::Array(Array::Numbers { kind, bytes: all }) => {
                bytes.extend(kind.number().to_le_bytes());
                bytes.extend(((all.len() / kind.bytes()) as u64).to_le_bytes());
                bytes.extend(all);
            }
        }
    }
}

/// Appends a length and a text.
pub(crate) fn write_string(text: &str, bytes: &mut Vec<u8>) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}

impl Array {
    /// How many values it has.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Strings(values) => values.len(),
            Self::Numbers { kind, bytes } => bytes.len() / kind.bytes(),
        }
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its texts, if it holds texts.
    #[must_use]
    pub fn strings(&self) -> Option<&[String]> {
        match self {
            Self::Strings(values) => Some(values),
            Self::Numbers { .. } => None,
        }
    }

    /// Its numbers as floats, if it holds numbers.
    #[must_use]
    pub fn numbers(&self) -> Option<Vec<f64>> {
        let Self::Numbers { kind, bytes } = self else {
            return None;
        };
        let number = |bytes| match Value::from_bytes(*kind, bytes)? {
            Value::Integer(value, _) => Some(value as f64),
            Value::Float(value, _) => Some(value),
            Value::Bool(value) => Some(f64::from(u8::from(value))),
            Value::String(_) | Value::Array(_) => None,
        };
        bytes.chunks_exact(kind.bytes()).map(number).collect()
    }
}
