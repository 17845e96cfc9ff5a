//! The types in which GGUF stores tensors, and the size of their blocks.

/// How the numbers of a tensor are stored. Quantized types store blocks of 32 or 256 numbers with
/// common scales; a block never crosses the end of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TensorType {
    /// 32-bit floats.
    F32,
    /// 16-bit IEEE floats.
    F16,
    /// The upper half of 32-bit floats.
    Bf16,
    /// 32 signed bytes with one scale.
    Q8_0,
    /// 32 numbers of 4 bits around zero with one scale.
    Q4_0,
    /// 32 numbers of 4 bits with a scale and a minimum.
    Q4_1,
    /// 32 numbers of 5 bits around zero with one scale.
    Q5_0,
    /// 32 numbers of 5 bits with a scale and a minimum.
    Q5_1,
    /// 256 numbers of 4 bits; each 32 have a scale and a minimum of 6 bits.
    Q4K,
    /// 256 numbers of 5 bits; each 32 have a scale and a minimum of 6 bits.
    Q5K,
    /// 256 numbers of 6 bits; each 16 have a scale of 8 bits.
    Q6K,
}

/// Every type that is read: its number in a file, its name, and the numbers and bytes of a block
/// (`ggml.h`, `enum ggml_type`, and the structures of `ggml-common.h`).
const TYPES: [(TensorType, u32, &str, usize, usize); 11] = [
    (TensorType::F32, 0, "F32", 1, 4),
    (TensorType::F16, 1, "F16", 1, 2),
    (TensorType::Bf16, 30, "BF16", 1, 2),
    (TensorType::Q8_0, 8, "Q8_0", 32, 34),
    (TensorType::Q4_0, 2, "Q4_0", 32, 18),
    (TensorType::Q4_1, 3, "Q4_1", 32, 20),
    (TensorType::Q5_0, 6, "Q5_0", 32, 22),
    (TensorType::Q5_1, 7, "Q5_1", 32, 24),
    (TensorType::Q4K, 12, "Q4_K", 256, 144),
    (TensorType::Q5K, 13, "Q5_K", 256, 176),
    (TensorType::Q6K, 14, "Q6_K", 256, 210),
];

/// Types of `ggml.h` that are not read, by number, so that an error can name them.
const UNREAD: [(u32, &str); 18] = [
    (9, "Q8_1"),
    (10, "Q2_K"),
    (11, "Q3_K"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (24, "I8"),
    (26, "I32"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
];

impl TensorType {
    fn row(self) -> &'static (TensorType, u32, &'static str, usize, usize) {
        let position = TYPES.iter().position(|(kind, ..)| *kind == self);
        &TYPES[position.expect("the table holds every type")]
    }

    /// The type that has this number in a file, or what to call the number where it is not read.
    pub(crate) fn from_number(number: u32) -> Result<Self, String> {
        if let Some((kind, ..)) = TYPES.iter().find(|(_, other, ..)| *other == number) {
            return Ok(*kind);
        }
        let named = UNREAD.iter().find(|(other, _)| *other == number);
        Err(named.map_or(format!("number {number}"), |(_, name)| (*name).into()))
    }

    /// Its number in a file.
    #[must_use]
    pub fn number(self) -> u32 {
        self.row().1
    }

    /// Its name, as llama.cpp writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().2
    }

    /// How many numbers a block holds.
    #[must_use]
    pub fn block_len(self) -> usize {
        self.row().3
    }

    /// How many bytes a block takes.
    #[must_use]
    pub fn block_bytes(self) -> usize {
        self.row().4
    }

    /// The names of all types that are read, separated by commas.
    pub(crate) fn names() -> String {
        TYPES.map(|(_, _, name, ..)| name).join(", ")
    }
}
