//! Parquet files: nested, of the wrong type, truncated and damaged.

use super::bad_file_tests::read_error;
use super::file;
use crate::{Documents, ItemKind, rows};
use ::parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use ::parquet::file::properties::WriterProperties;
use ::parquet::file::writer::SerializedFileWriter;
use ::parquet::schema::parser::parse_message_type;
use serde_json::{Value, json};
use std::sync::Arc;

const SCHEMA: &str = "message rows {
    required binary prompt (UTF8);
    required group chosen (LIST) { repeated group list { optional group element {
        optional binary content (UTF8); optional binary role (UTF8); } } }
    required group rejected (LIST) { repeated group list { optional int64 element; } }
    optional int64 score;
}";

/// A Parquet file of two row groups with a conversation, a list of numbers and a null.
fn written() -> Vec<u8> {
    let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
    let codec = ::parquet::basic::Compression::ZSTD(Default::default());
    let properties = WriterProperties::builder().set_compression(codec).build();
    let mut bytes = Vec::new();
    let mut writer = SerializedFileWriter::new(&mut bytes, schema, Arc::new(properties)).unwrap();
    for prompt in ["first", "second"] {
        let mut group = writer.next_row_group().unwrap();
        let mut index = 0;
        while let Some(mut column) = group.next_column().unwrap() {
            let text = |words: &[&str]| -> Vec<ByteArray> {
                words.iter().map(|w| ByteArray::from(*w)).collect()
            };
            match index {
                0 => drop(
                    column
                        .typed::<ByteArrayType>()
                        .write_batch(&text(&[prompt]), None, None)
                        .unwrap(),
                ),
                1 => drop(
                    column
                        .typed::<ByteArrayType>()
                        .write_batch(&text(&["hi", "ho"]), Some(&[3, 3]), Some(&[0, 1]))
                        .unwrap(),
                ),
                2 => drop(
                    column
                        .typed::<ByteArrayType>()
                        .write_batch(&text(&["user", "assistant"]), Some(&[3, 3]), Some(&[0, 1]))
                        .unwrap(),
                ),
                3 => drop(
                    column
                        .typed::<Int64Type>()
                        .write_batch(&[7], Some(&[2]), Some(&[0]))
                        .unwrap(),
                ),
                _ => drop(
                    column
                        .typed::<Int64Type>()
                        .write_batch(&[], Some(&[0]), None)
                        .unwrap(),
                ),
            }
            column.close().unwrap();
            index += 1;
        }
        group.close().unwrap();
    }
    writer.close().unwrap();
    bytes
}

#[test]
fn structs_and_lists_become_objects_and_arrays() {
    let (_folder, path) = file("x.parquet", written());
    let rows = rows(&path, Documents::Lines).unwrap();
    let chosen = json!([{"content": "hi", "role": "user"}, {"content": "ho", "role": "assistant"}]);
    assert_eq!(rows[1].fields["chosen"], chosen);
    assert_eq!(rows[1].fields["prompt"], "second");
    assert_eq!(rows[0].fields["score"], Value::Null);
    assert_eq!(rows.iter().map(|row| row.line).collect::<Vec<_>>(), [1, 2]);
}

/// A column of numbers where a conversation should be.
#[test]
fn a_column_of_the_wrong_nested_type_is_an_error() {
    let error = read_error("x.parquet", written(), ItemKind::Pairs);
    assert!(
        error.contains("x.parquet: row 1: message 1 of `rejected` is not an object"),
        "{error}"
    );
}

#[test]
fn truncated_and_damaged_files_are_errors() {
    let whole = written();
    for part in [0, 4, whole.len() / 2, whole.len() - 1] {
        let error = read_error("x.parquet", &whole[..part], ItemKind::Pairs);
        assert!(error.contains("x.parquet: not Parquet"), "{error}");
    }
    for start in (4..whole.len() - 8).step_by(16) {
        let mut broken = whole.clone();
        for byte in &mut broken[start..start + 4] {
            *byte ^= 0x5a;
        }
        // Reading gives rows or an error that names the file, never a panic.
        let (_folder, path) = file("x.parquet", &broken);
        if let Err(error) = rows(&path, Documents::Lines) {
            assert!(error.to_string().contains("x.parquet"), "{error}");
        }
    }
}
