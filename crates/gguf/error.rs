//! What can go wrong with a GGUF file or a model folder.

use std::path::{Path, PathBuf};

/// An error of this crate. Each names the file and the key or tensor at fault, and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file that cannot be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file whose content is not what it should be.
    #[error("{path}: {message}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and the fix.
        message: String,
    },
}

impl Error {
    /// Names the file of an input or output error.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io {
            path: path.into(),
            source,
        }
    }

    /// Says what is wrong with a file, in one line: names out of a damaged file may hold anything.
    pub(crate) fn invalid(path: &Path, message: impl std::fmt::Display) -> Self {
        let mut line = String::new();
        for character in message.to_string().chars() {
            if character.is_control() {
                line.extend(character.escape_debug())
            } else {
                line.push(character)
            }
        }
        Self::Invalid {
            path: path.into(),
            message: line,
        }
    }
}

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;
