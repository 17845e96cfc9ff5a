//! Reads Parquet, row group by row group.

use crate::formats::{Facts, Located, RowReader};
use crate::{Error, Result, Row};
use parquet::file::reader::SerializedFileReader;
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row as Record};
use serde_json::{Map, Value};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

/// The rows of a Parquet file. A struct becomes an object, a list an array.
pub(crate) struct ParquetReader {
    rows: RowIter<'static>,
    path: Arc<Path>,
    /// The number of the current row, counted from 1.
    row: usize,
    finished: bool,
}

impl ParquetReader {
    /// Opens a file and reads its footer.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|source| Error::io(path, source))?;
        let opened = caught(|| {
            let reader = SerializedFileReader::new(file)?;
            Ok(RowIter::from_file_into(Box::new(reader)))
        });
        Ok(Self {
            rows: opened.map_err(|message| Error::file(path, format!("not Parquet: {message}")))?,
            path: path.into(),
            row: 0,
            finished: false,
        })
    }
}

impl RowReader for ParquetReader {
    fn next(&mut self) -> Option<Result<Located>> {
        if self.finished {
            return None;
        }
        self.row += 1;
        let next = caught(|| self.rows.next().transpose());
        match next {
            Ok(None) => None,
            Ok(Some(record)) => Some(self.located(&record)),
            Err(message) => {
                self.finished = true;
                let message = format!(
                    "row {}: {message}: the file is damaged, or uses an encoding that this build \
                     does not support",
                    self.row
                );
                Some(Err(Error::file(&self.path, message)))
            }
        }
    }

    fn facts(&self) -> Facts {
        Facts::default()
    }
}

impl ParquetReader {
    fn located(&self, record: &Record) -> Result<Located> {
        let wrong = |what: String| Error::row(&self.path, self.row, what);
        Ok(Located {
            row: Row {
                path: self.path.clone(),
                line: self.row,
                fields: object(record).map_err(wrong)?,
            },
            offset: 0,
        })
    }
}

/// The library checks much of a file but panics on some damage; a panic becomes an error of the
/// file.
fn caught<T>(work: impl FnOnce() -> parquet::errors::Result<T>) -> std::result::Result<T, String> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("its pages cannot be read".into()),
    }
}

fn object(record: &Record) -> std::result::Result<Map<String, Value>, String> {
    let mut fields = Map::new();
    for (name, field) in record.get_column_iter() {
        let value = value(field).map_err(|what| format!("column `{name}`: {what}"))?;
        fields.insert(name.clone(), value);
    }
    Ok(fields)
}

fn value(field: &Field) -> std::result::Result<Value, String> {
    Ok(match field {
        Field::Null => Value::Null,
        Field::Bool(yes) => (*yes).into(),
        Field::Byte(number) => (*number).into(),
        Field::Short(number) => (*number).into(),
        Field::Int(number) | Field::Date(number) | Field::TimeMillis(number) => (*number).into(),
        Field::Long(number)
        | Field::TimeMicros(number)
        | Field::TimestampMillis(number)
        | Field::TimestampMicros(number) => (*number).into(),
        Field::UByte(number) => (*number).into(),
        Field::UShort(number) => (*number).into(),
        Field::UInt(number) => (*number).into(),
        Field::ULong(number) => (*number).into(),
        Field::Float16(number) => f64::from(f32::from(*number)).into(),
        Field::Float(number) => f64::from(*number).into(),
        Field::Double(number) => (*number).into(),
        Field::Str(text) => text.as_str().into(),
        Field::Bytes(bytes) => match std::str::from_utf8(bytes.data()) {
            Ok(text) => text.into(),
            Err(_) => return Err("bytes that are not UTF-8".into()),
        },
        Field::Group(record) => Value::Object(object(record)?),
        Field::ListInternal(list) => {
            let items = list.elements().iter().map(value);
            Value::Array(items.collect::<std::result::Result<_, _>>()?)
        }
        Field::MapInternal(map) => {
            let mut fields = Map::new();
            for (key, of) in map.entries() {
                let Field::Str(key) = key else {
                    return Err("a map whose keys are not strings".into());
                };
                fields.insert(key.clone(), value(of)?);
            }
            Value::Object(fields)
        }
        other => other.to_string().into(),
    })
}
