//! Tokenizers: `tokenizer.ggml.*` of a GGUF file, and `tokenizer.json` with `tokenizer_config.json` of a
//! folder.

mod byte_level;
mod end_tokens;
mod export;
mod folder;
mod import;
mod pre_tokenizer;
mod sentence_piece;

pub(crate) use end_tokens::of_file as end_tokens_of_file;
pub(crate) use export::{Vocabulary, export};
pub(crate) use import::{Files, import};

/// `tokenizer.ggml.token_type`, the kinds of token that llama.cpp tells apart (`llama.h`,
/// `llama_token_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TokenKind {
    Normal = 1,
    Unknown = 2,
    /// Special: its text is not shown.
    Control = 3,
    /// Looked for in a text before it is split, and shown.
    UserDefined = 4,
    /// A place of the vocabulary without a text.
    Unused = 5,
    /// One byte, in vocabularies of SentencePiece.
    Byte = 6,
}

impl TokenKind {
    /// The kind of this number; llama.cpp takes all others for normal tokens.
    fn from_number(number: f64) -> Self {
        let kinds = [
            Self::Unknown,
            Self::Control,
            Self::UserDefined,
            Self::Unused,
            Self::Byte,
        ];
        let found = kinds
            .into_iter()
            .find(|kind| f64::from(*kind as i32) == number);
        found.unwrap_or(Self::Normal)
    }
}
