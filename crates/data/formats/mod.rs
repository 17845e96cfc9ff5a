//! The formats of data files, each a reader of rows, one after another and never the whole file.

mod bytes;
mod columns;
mod json_array;
mod json_lines;
#[cfg(feature = "parquet")]
mod parquet;
mod text;

pub(crate) use json_lines::parse;
pub(crate) use text::{Ends, document};

use crate::{Error, Result, Row};
use bytes::Input;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The longest row, in bytes: more is not a row but a whole file.
pub const LONGEST_ROW: usize = 16 << 20;

/// How a file is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON object a line.
    Jsonl,
    /// One JSON array of objects.
    Json,
    /// Columns separated by commas, quoted where need be.
    Csv,
    /// Columns separated by tabs, never quoted.
    Tsv,
    /// Plain text.
    Text,
    /// Apache Parquet.
    Parquet,
}

/// What one document of a plain text file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Documents {
    /// Lines up to the next blank line.
    #[default]
    Paragraphs,
    /// Each line that is not blank.
    Lines,
    /// What stands between two EOS texts, blank lines and all.
    Eos,
}

/// How files are to be read, where their names do not say it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// Of every file, whatever it is called.
    pub format: Option<Format>,
    /// The names of the columns of a table whose first line is no heading.
    pub columns: Vec<String>,
    /// What one document of a plain text file is.
    pub documents: Documents,
    /// A text that ends a document of a plain text file wherever it stands, and is no part of it, such
    /// as that of the EOS token.
    pub separator: Option<String>,
}

/// What was seen of a file besides its rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// It starts with a byte-order mark.
    pub(crate) bom: bool,
    /// Lines that end with CR LF.
    pub(crate) crlf: usize,
    /// Of plain text: lines that are not blank.
    pub(crate) lines: usize,
    /// Of plain text: the number of tabs in each of them, where it is the same.
    pub(crate) tabs: Option<usize>,
    /// Of a table: the names of its columns, where its first line gave them.
    pub(crate) heading: Option<Vec<String>>,
    /// Of plain text: how often the separator of documents was found, and how many documents a blank
    /// line ended.
    pub(crate) separators: usize,
    pub(crate) breaks: usize,
}

/// A row and the byte at which it starts in the file, uncompressed.
pub(crate) struct Located {
    pub(crate) row: Row,
    pub(crate) offset: u64,
}

/// The rows of a file, in order. After an error that is not one row's there is nothing more.
pub(crate) trait RowReader {
    fn next(&mut self) -> Option<Result<Located>>;
    fn facts(&self) -> Facts;
}

/// A file that is being read.
pub(crate) struct Opened {
    pub(crate) rows: Box<dyn RowReader>,
    pub(crate) format: Format,
    /// Whether a row can be found again by its offset.
    pub(crate) in_place: bool,
}

/// What a name promises: the format, and whether the file is compressed.
pub(crate) fn format_of(path: &Path) -> Option<Format> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    let name = name
        .strip_suffix(".gz")
        .or_else(|| name.strip_suffix(".zst"))
        .unwrap_or(&name);
    let (_, extension) = name.rsplit_once('.')?;
    Some(match extension {
        "jsonl" | "ndjson" => Format::Jsonl,
        "json" => Format::Json,
        "csv" => Format::Csv,
        "tsv" => Format::Tsv,
        "txt" => Format::Text,
        "parquet" => Format::Parquet,
        _ => return None,
    })
}

/// Opens a file. What is called JSON may be an array or lines, and what is called nothing is taken
/// for JSON.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn open(path: &Path, options: &ReadOptions) -> Result<Opened> {
    if path.is_dir() {
        return Err(Error::file(path, "is a folder, not a file"));
    }
    let format = options.format.or_else(|| format_of(path));
    if format == Some(Format::Parquet) {
        return open_parquet(path);
    }
    let mut input = Input::open(path)?;
    let plain = !input.is_compressed();
    let mut in_place = plain;
    let (rows, format): (Box<dyn RowReader>, _) = match format.unwrap_or(Format::Jsonl) {
        Format::Text => {
            let documents = text::Documented::new(input, Ends::new(options));
            (Box::new(documents), Format::Text)
        }
        format @ (Format::Csv | Format::Tsv) => {
            in_place = false;
            let columns = columns::Columns::new(input, format, &options.columns)?;
            (Box::new(columns), format)
        }
        _ if input.first_byte()? == Some(b'[') => {
            in_place = false;
            (Box::new(json_array::Elements::new(input)), Format::Json)
        }
        _ => (Box::new(json_lines::Lines::new(input)), Format::Jsonl),
    };
    Ok(Opened {
        rows,
        format,
        in_place,
    })
}

#[cfg(feature = "parquet")]
fn open_parquet(path: &Path) -> Result<Opened> {
    Ok(Opened {
        rows: Box::new(parquet::Records::open(path)?),
        format: Format::Parquet,
        in_place: false,
    })
}

#[cfg(not(feature = "parquet"))]
fn open_parquet(path: &Path) -> Result<Opened> {
    let message = "is Parquet, which this build cannot read: build with the feature `parquet`";
    Err(Error::file(path, message))
}
