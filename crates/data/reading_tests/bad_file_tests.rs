//! Truncated, mixed and mislabelled files. Each gives an error that names the file and the row, and
//! rows around a bad row can still be read.

use super::{characters, file, lines, settings, template};
use crate::*;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Reads a file and returns the notes.
fn read(path: &Path, settings: Settings, kind: ItemKind) -> Result<Notes> {
    let source = Source::new(path, None, ReadOptions::default())?;
    let mut reader = Reader::new(settings);
    let skips = reader.skips();
    let mut bad = |error: Error| {
        if skips {
            reader.skip(&error);
            Ok(())
        } else {
            Err(error)
        }
    };
    let store = RowStore::open(&source, &mut bad, &mut |_| {})?;
    let numbers: Vec<u32> = (0..store.len() as u32).collect();
    StreamingDataset::new(&Arc::new(Mutex::new(store)), &numbers, &mut reader, kind)?;
    Ok(reader.notes)
}

fn plain() -> Settings {
    settings(characters(), Some(1), Some(0))
}

pub(super) fn read_error(name: &str, content: impl AsRef<[u8]>, kind: ItemKind) -> String {
    let (_folder, path) = file(name, content);
    read(&path, plain(), kind).unwrap_err().to_string()
}

fn pair(index: usize) -> Value {
    json!({"prompt": format!("q {index}"), "chosen": "a", "rejected": "b"})
}

#[test]
fn invalid_rows_are_errors() {
    let good = pair(0).to_string();
    for (name, content, expected) in [
        (
            "x.jsonl",
            format!("{good}\n{{\"a\": \n").into_bytes(),
            "x.jsonl:2: not JSON: EOF",
        ),
        (
            "x.jsonl",
            b"3\n".to_vec(),
            "x.jsonl:1: expected a JSON object, found 3",
        ),
        (
            "x.jsonl",
            b"\"secret\"\n".to_vec(),
            "x.jsonl:1: expected a JSON object, found a string",
        ),
        ("x.json", b"[{},\n{,}]".to_vec(), "x.json:2: not JSON"),
        (
            "x.json",
            b"[\n 7]".to_vec(),
            "x.json:2: expected a JSON object, found 7",
        ),
        (
            "x.json",
            b"[{}, {}".to_vec(),
            "x.json: line 1: the array does not end: the file is truncated",
        ),
        (
            "x.json",
            b"[{}] {}".to_vec(),
            "x.json: line 1: more text after the end of the array",
        ),
        ("x.jsonl", b"\n".to_vec(), "x.jsonl: holds no rows"),
        (
            "x.jsonl",
            [good.as_bytes(), b"\n{\"a\": \"\xff\"}\n"].concat(),
            "x.jsonl:2: not UTF-8: byte 8",
        ),
        (
            "x.jsonl",
            b"\xff\xfe{\0".to_vec(),
            "x.jsonl: is encoded in UTF-16: save it as UTF-8",
        ),
        (
            "x.csv",
            b"prompt,chosen,rejected\na,b,c\nd,e\n".to_vec(),
            "x.csv:3: 2 columns, but the table has 3",
        ),
        (
            "x.csv",
            b"a,a\n1,2\n".to_vec(),
            "x.csv: two columns are named `a`",
        ),
        (
            "x.csv",
            b"prompt,chosen,rejected\na,\xff,c\n".to_vec(),
            "x.csv:2: not UTF-8",
        ),
    ] {
        let error = read_error(name, content, ItemKind::Pairs);
        assert!(error.contains(expected), "{error}\nexpected: {expected}");
    }
}

#[test]
fn truncated_archives_are_errors_of_the_file() {
    let content: Vec<Value> = (0..5000).map(pair).collect();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(lines(&content).as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(lines(&content).as_bytes(), 1).unwrap();
    for (name, bytes, what) in [
        (
            "x.jsonl.gz",
            gzip,
            "the gzip data end or are invalid in line ",
        ),
        (
            "x.jsonl.zst",
            zstd,
            "the zstd data end or are invalid in line ",
        ),
    ] {
        let (_folder, path) = file(name, &bytes);
        let whole = Notes {
            unlabelled: 5000,
            ..Notes::default()
        };
        assert_eq!(read(&path, plain(), ItemKind::Pairs).unwrap(), whole);
        assert!(whole.sentences().is_empty());
        for part in [bytes.len() / 2, bytes.len() - 3] {
            let error = read_error(name, &bytes[..part], ItemKind::Pairs);
            assert!(error.contains(name) && error.contains(what), "{error}");
            // Not a row error: skipping rows does not help.
            let (_folder, path) = file(name, &bytes[..part]);
            let skip = Settings {
                on_bad_row: OnBadRow::Skip,
                ..plain()
            };
            assert!(read(&path, skip, ItemKind::Pairs).is_err());
        }
        let mut broken = bytes.clone();
        let middle = broken.len() / 2;
        broken[middle..middle + 8].fill(0x55);
        let error = read_error(name, &broken, ItemKind::Pairs);
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn errors_name_fields_of_the_wrong_type() {
    for (row, expected) in [
        (
            json!({"prompt": "x", "chosen": true, "rejected": "b"}),
            "field `chosen` must be a string or a conversation",
        ),
        (
            json!({"prompt": "x", "chosen": "a", "rejected": null}),
            "field `rejected` is null",
        ),
        (
            json!({"prompt": "x", "chosen": "a"}),
            "no field `rejected` and no field `rejected_ids` in this row",
        ),
        (
            json!({"prompt": "x", "completion": "b"}),
            "x.jsonl:2: holds prompts and completions, but",
        ),
        (
            json!({"chosen": "a", "rejected": "b"}),
            "holds preferences with a prompt in both dialogues",
        ),
        (
            json!({"prompt": "x", "chosen": [1, 2], "rejected": "b"}),
            "message 1 of `chosen` is not an object",
        ),
        (
            json!({"prompt": "x", "chosen": [{"role": 1, "content": "a"}], "rejected": "b"}),
            "message 1 of `chosen` has no `role`",
        ),
        (
            json!({"prompt": "x", "chosen": [{"role": "user", "content": 1}], "rejected": "b"}),
            "message 1 of `chosen` has no `content`",
        ),
        (
            json!({"prompt": "x", "chosen": [{"role": "assistant", "content": "a"}], "rejected": "b"}),
            "the checkpoint has no chat template",
        ),
        (
            json!({"prompt": "x", "chosen": "a", "rejected": "b", "margin": -1}),
            "field `margin` must be a number from 0, not -1",
        ),
    ] {
        let error = read_error("x.jsonl", lines(&[pair(0), row]), ItemKind::Pairs);
        assert!(
            error.contains("x.jsonl:2: ") && error.contains(expected),
            "{error}\nexpected: {expected}"
        );
    }
}

/// A bad row is skipped only if the settings say so, and then it is counted.
#[test]
fn a_missing_field_in_row_90000_is_found() {
    let mut rows: Vec<Value> = (0..100_000).map(pair).collect();
    rows[89_999] = json!({"prompt": "q", "chosen": "a"});
    let (_folder, path) = file("x.jsonl", lines(&rows));
    let error = read(&path, plain(), ItemKind::Pairs)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("x.jsonl:90000: no field `rejected`"),
        "{error}"
    );
    let skip = Settings {
        on_bad_row: OnBadRow::Skip,
        ..plain()
    };
    let notes = read(&path, skip, ItemKind::Pairs).unwrap();
    assert_eq!(notes.skipped_rows, 1);
    let sentence = notes.sentences().remove(0);
    assert!(
        sentence.contains("1 row skipped") && sentence.contains("x.jsonl:90000"),
        "{sentence}"
    );
}

#[test]
fn a_line_of_50_megabytes_is_an_error() {
    let long = json!({"prompt": "x".repeat(50 << 20), "chosen": "a", "rejected": "b"});
    let content = lines(&[pair(0), long, pair(2)]);
    for (name, content) in [
        ("x.jsonl", content.clone()),
        (
            "x.json",
            format!("[{}]", content.trim().replace("}\n", "},\n")),
        ),
    ] {
        let (_folder, path) = file(name, content);
        let error = read(&path, plain(), ItemKind::Pairs)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&format!("{name}:2: a row of 524288")) && error.contains("16 MiB"),
            "{error}"
        );
        let skip = Settings {
            on_bad_row: OnBadRow::Skip,
            ..plain()
        };
        assert_eq!(read(&path, skip, ItemKind::Pairs).unwrap().skipped_rows, 1);
    }
}

#[test]
fn templates_that_raise_or_never_end_are_errors() {
    let rows = [json!({"prompt": [{"role": "user", "content": "x"}]})];
    let (_folder, path) = file("x.jsonl", lines(&rows));
    let say = |source: &str| {
        let chat = Chat::Template(Arc::new(template(source).unwrap().unwrap()));
        let settings = Settings { chat, ..plain() };
        read(&path, settings, ItemKind::Prompts)
            .unwrap_err()
            .to_string()
    };
    let error = say("{{ raise_exception('roles must alternate') }}");
    assert!(
        error.contains("x.jsonl:1: the chat template in ")
            && error.contains("roles must alternate"),
        "{error}"
    );
    let error = say(
        "{% for a in range(10000) %}{% for b in range(10000) %}{% for c in range(10000) %}{% endfor %}{% endfor %}{% endfor %}",
    );
    assert!(
        error.contains("tokenizer_config.json: the chat template does not end"),
        "{error}"
    );
    let error = say("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}");
    assert!(error.contains("x.jsonl:1: the chat template in"), "{error}");
    let error = say("{{ messages[0].content.nothing() }}");
    assert!(error.contains("x.jsonl:1: "), "{error}");
    let error = template("{% for x %}").unwrap_err().to_string();
    assert!(
        error.contains("tokenizer_config.json: the chat template is not Jinja"),
        "{error}"
    );
}
