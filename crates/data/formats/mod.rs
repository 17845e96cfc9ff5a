//! The formats of data files. Each is a streaming reader of rows.

mod bytes;
mod columns;
mod json_array;
mod json_lines;
#[cfg(feature = "parquet")]
mod parquet;
mod text;

pub(crate) use json_lines::parse;
pub(crate) use text::{DocumentEnds, document};

use crate::{Error, Result, Row};
use bytes::Input;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The maximum length of a row, in bytes.
pub const LONGEST_ROW: usize = 16 << 20;

/// The format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One JSON object per line.
    Jsonl,
    /// One JSON array of objects.
    Json,
    /// Columns separated by commas, quoted where needed.
    Csv,
    /// Columns separated by tabs, never quoted.
    Tsv,
    /// Plain text.
    Text,
    /// Apache Parquet.
    Parquet,
}

/// How a plain text file is split into documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Documents {
    /// A document ends at a blank line.
    #[default]
    Paragraphs,
    /// Each line that is not blank is a document.
    Lines,
    /// A document ends at the EOS text; blank lines belong to it.
    Eos,
}

/// Options for reading files whose names do not determine them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// The format of every file, regardless of its name.
    pub format: Option<Format>,
    /// The column names of a table without a heading.
    pub columns: Vec<String>,
    /// How a plain text file is split into documents.
    pub documents: Documents,
    /// A text that ends a document of a plain text file wherever it occurs and is not part of it,
    /// such as the text of the EOS token.
    pub separator: Option<String>,
}

/// What was counted in a file besides its rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Whether it starts with a byte-order mark.
    pub(crate) bom: bool,
    /// The number of lines that end with CR LF.
    pub(crate) crlf: usize,
    /// Plain text: the number of lines that are not blank.
    pub(crate) lines: usize,
    /// Plain text: the number of tabs in each line, if it is the same in all.
    pub(crate) tabs: Option<usize>,
    /// Tables: the column names, if they were read from the first line.
    pub(crate) heading: Option<Vec<String>>,
    /// Plain text: the number of separators found, and of documents ended by a blank line.
    pub(crate) separators: usize,
    pub(crate) blank_line_ends: usize,
}

/// A row and its offset in the uncompressed file, in bytes.
pub(crate) struct Located {
    pub(crate) row: Row,
    pub(crate) offset: u64,
}

/// The rows of a file, in order. After an error that is not a row error the iteration ends.
pub(crate) trait RowReader {
    fn next(&mut self) -> Option<Result<Located>>;
    fn facts(&self) -> Facts;
}

/// An open file.
pub(crate) struct Opened {
    pub(crate) rows: Box<dyn RowReader>,
    pub(crate) format: Format,
    /// Whether a row can be read again from its offset.
    pub(crate) in_place: bool,
}

/// The format that a file name implies, without a compression suffix.
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

/// Opens a file. A `.json` file may be an array or lines; a file without a known extension is read
/// as JSON.
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
            let documents = text::TextReader::new(input, DocumentEnds::new(options));
            (Box::new(documents), Format::Text)
        }
        format @ (Format::Csv | Format::Tsv) => {
            in_place = false;
            let table = columns::TableReader::new(input, format, &options.columns)?;
            (Box::new(table), format)
        }
        _ if input.first_byte()? == Some(b'[') => {
            in_place = false;
            (
                Box::new(json_array::JsonArrayReader::new(input)),
                Format::Json,
            )
        }
        _ => (
            Box::new(json_lines::JsonLinesReader::new(input)),
            Format::Jsonl,
        ),
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
        rows: Box::new(parquet::ParquetReader::open(path)?),
        format: Format::Parquet,
        in_place: false,
    })
}

#[cfg(not(feature = "parquet"))]
fn open_parquet(path: &Path) -> Result<Opened> {
    let message = "is Parquet, which this build cannot read: build with the feature `parquet`";
    Err(Error::file(path, message))
}
