//! Files to sequences: prompts, preference pairs, demonstrations and completions to score.
//!
//! A file is read into [`Row`]s that remember their line, and a [`Reader`] turns rows into tokens.
//! A bad row is an error that names the file, the line and the field; what is cut to fit the
//! context is counted in [`Notes`]. Nothing is padded, and no reward or method is known here.
//!
//! ```
//! use rlhf_data::{Documents, rows};
//!
//! let folder = tempfile::tempdir().unwrap();
//! let file = folder.path().join("prompts.jsonl");
//! std::fs::write(&file, "{\"prompt\": \"the film was\", \"topic\": 3}\n").unwrap();
//! let rows = rows(&file, Documents::Paragraphs).unwrap();
//! assert_eq!(rows[0].fields["topic"], 3);
//! ```

mod error;
mod limits;
mod reader;
mod rows;
mod split;

pub use error::{Error, Result};
pub use limits::Limits;
pub use reader::{Fields, Notes, Reader};
pub use rows::{Documents, Row, rows};
pub use split::split;
