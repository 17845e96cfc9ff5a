//! Reads data files into sequences: prompts, preference pairs, demonstrations and completions to
//! score.
//!
//! A [`Source`] is one or more files of any [`Format`], read row by row. A row has a [`Shape`]; its
//! fields become text, through a chat [`Template`] if they hold a conversation, and then tokens. A
//! [`Reader`] does that for rows in memory, a [`StreamingDataset`] for files of any size, reading
//! the rows of a step at that step; a [`Check`] inspects a file before training. A bad row is an
//! error that names the file, the line and the field; rows that are truncated or skipped are
//! counted in [`Notes`]. Nothing is padded. This crate does not depend on rewards or methods.
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
mod chunks;
mod encode;
mod error;
mod fields;
mod files;
mod formats;
mod item;
mod labels;
mod limits;
mod notes;
mod reader;
#[cfg(test)]
mod reading_tests;
mod remarks;
mod row;
mod row_labels;
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
pub use labels::{
    Annotators, CustomLabels, LabelFormat, LabelValue, Labels, SoftLabels, StandardLabels,
};
pub use limits::{Limits, PromptLengths};
pub use notes::{Notes, UnusedFieldReader};
pub use reader::{LossOn, OnBadRow, Reader, Settings};
pub use row::Row;
pub use row_labels::RowRequirement;
pub use row_store::RowStore;
pub use shapes::{Chat, PairsOf, Shape};
pub use source::{Source, rows};
pub use split::{HeldOut, PromptKeys, Split};
pub use streaming::{SharedNotes, SharedRowStore, StreamingDataset};
