//! GGUF, the file format of llama.cpp: one file with a model's weights, its metadata and its tokenizer.
//!
//! [`import`] makes a Hugging Face folder of a file, and [`export`] a file of a folder; the architectures
//! are those in `architecture/`. Below them, [`GgufFile`] reads any file, and [`write`](fn@write) makes one. This
//! crate knows nothing of training, and does not run a model.
//!
//! ```
//! use rlhf_gguf::{GgufFile, NewTensor, Value, WrittenType};
//! let folder = tempfile::tempdir().unwrap();
//! let path = folder.path().join("tiny.gguf");
//! let metadata = [("general.architecture".to_string(), Value::String("llama".into()))];
//! let (name, shape, kind) = ("output_norm.weight".into(), vec![2], WrittenType::F16);
//! let tensor = NewTensor { name, shape, kind };
//! rlhf_gguf::write(&path, &metadata, &[tensor], |_, sink| sink(&[0.5, 2.0]))?;
//! let file = GgufFile::open(&path)?;
//! let mut numbers = Vec::new();
//! file.read(&file.tensors()["output_norm.weight"], |some| {
//!     numbers.extend_from_slice(some);
//!     Ok(())
//! })?;
//! assert_eq!(numbers, [0.5, 2.0]);
//! # Ok::<(), rlhf_gguf::Error>(())
//! ```

#![forbid(unsafe_code)]

mod architecture;
mod config;
mod dequantize;
mod error;
mod export;
mod file;
mod import;
mod parse;
mod quantize;
mod safetensors;
mod stream;
mod tensor_type;
mod tokenizer;
mod transform;
mod value;
mod write;

#[cfg(test)]
mod golden_tests;
#[cfg(test)]
mod import_tests;

pub use dequantize::dequantize;
pub use error::{Error, Result};
pub use export::export;
pub use file::GgufFile;
pub use import::{Translated, import};
pub use parse::TensorInfo;
pub use quantize::WrittenType;
pub use stream::{NewTensor, Sink};
pub use tensor_type::TensorType;
pub use value::{Array, Value, ValueType};
pub use write::write;
