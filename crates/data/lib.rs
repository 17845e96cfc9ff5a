//! Files to sequences: prompts, preference pairs, demonstrations and completions to score.
//!
//! A [`Source`] is files of any [`Format`], read row by row. A row has a [`Shape`]; what it says
//! becomes text, by a chat [`Template`] where it is a conversation, and then tokens. A [`Reader`] does
//! that for rows in memory, a [`StreamingDataset`] for files of any size, reading what a step needs; a [`Check`]
//! looks at a file before anything is trained on it. A bad row is an error that names the file, the
//! line and the field; what is cut or left out is counted in [`Notes`]. Nothing is padded, and no
//! reward or method is known here.
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

#![forbid(unsafe_code)]

mod chat;
mod check;
mod encode;
mod error;
mod fields;
mod files;
mod formats;
mod item;
mod judged;
mod labels;
mod limits;
mod notes;
mod pieces;
mod reader;
#[cfg(test)]
mod reading_tests;
mod remarks;
mod row;
mod row_store;
mod shapes;
mod source;
mod split;
mod streaming;
mod unused;

pub use chat::Template;
pub use check::{Check, Report};
pub use encode::{AppendEos, Vocabulary};
pub use error::{Error, Result};
pub use fields::{Fields, NamedColumns};
pub use files::files;
pub use formats::{Documents, Format, LONGEST_ROW, ReadOptions};
pub use item::ItemKind;
pub use judged::RowRequirement;
pub use labels::{
    Annotators, CustomLabels, LabelFormat, LabelValue, Labels, SoftLabels, StandardLabels,
};
pub use limits::{Limits, PromptLengths};
pub use notes::{Notes, UnusedFieldReader};
pub use reader::{LossOn, OnBadRow, Reader, Settings};
pub use row::Row;
pub use row_store::RowStore;
pub use shapes::{Chat, PairsOf, Shape};
pub use source::{Source, rows};
pub use split::{HeldOut, PromptKeys, Split};
pub use streaming::{SharedNotes, SharedRowStore, StreamingDataset};
