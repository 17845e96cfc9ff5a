//! Every format gives the same rows, with correct line numbers.

use super::*;

/// The rows of every format, and the row store made of them.
#[test]
fn every_format_gives_the_same_rows() {
    let rows = [
        json!({"prompt": "a, \"b\"", "completion": "x\ny"}),
        json!({"prompt": "é", "completion": ""}),
        json!({"prompt": "c", "completion": " z"}),
    ];
    let json_lines = lines(&rows);
    let array = serde_json::to_string_pretty(&rows).unwrap();
    let csv = "prompt,completion\r\n\"a, \"\"b\"\"\",\"x\ny\"\r\né,\r\nc, z\r\n";
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut gzip, json_lines.as_bytes()).unwrap();
    let zstd = zstd::encode_all(array.as_bytes(), 1).unwrap();
    let crlf = format!("\u{feff}{}", json_lines.replace('\n', "\r\n\r\n"));
    for (name, bytes) in [
        ("x.jsonl", json_lines.clone().into_bytes()),
        ("x.json", array.clone().into_bytes()),
        ("x", array.into_bytes()),
        ("x.csv", csv.as_bytes().to_vec()),
        ("x.jsonl.gz", gzip.finish().unwrap()),
        ("x.json.zst", zstd),
        ("crlf.jsonl", crlf.into_bytes()),
    ] {
        let (_folder, path) = file(name, bytes);
        let found = crate::rows(&path, Documents::Lines).unwrap();
        let fields: Vec<_> = found
            .iter()
            .map(|row| Value::Object(row.fields.clone()))
            .collect();
        assert_eq!(fields, rows, "{name}");
        let source = Source::new(&path, None, ReadOptions::default()).unwrap();
        let store = RowStore::open(&source, &mut Err, &mut |_| {}).unwrap();
        let mut store = store;
        assert_eq!(
            store.rows(&[2, 0, 1, 1]).unwrap(),
            [2, 0, 1, 1].map(|i: usize| found[i].clone())
        );
    }
}

#[test]
fn line_numbers_are_correct() {
    let numbers = |name: &str, content: &str| -> Vec<usize> {
        let (_folder, path) = file(name, content);
        let rows = rows(&path, Documents::Lines).unwrap();
        rows.iter().map(|row| row.line).collect()
    };
    assert_eq!(numbers("x.jsonl", "{\"a\": 1}\n\n{\"a\": 2}"), [1, 3]);
    let content = "[{\"a\": \"[,\\\"{\"},\n {\"a\": [1,\n2]},\n\n{\"b\": {\"c\": []}}, {}\n]\n";
    assert_eq!(numbers("x.json", content), [1, 2, 5, 5]);
    assert_eq!(numbers("x.csv", "a,b\n1,\"2\n3\"\n4,5\n"), [2, 4]);
}

#[test]
fn plain_text_is_split_into_documents() {
    let content = "one\ntwo\n\n\nthree\r\n";
    let texts = |documents| -> Vec<(usize, String)> {
        let (_folder, path) = file("x.txt", content);
        let found = rows(&path, documents).unwrap();
        let options = ReadOptions {
            documents,
            ..ReadOptions::default()
        };
        let source = Source::new(&path, None, options).unwrap();
        let mut store = RowStore::open(&source, &mut Err, &mut |_| {}).unwrap();
        let all: Vec<u32> = (0..found.len() as u32).collect();
        assert_eq!(store.rows(&all).unwrap(), found);
        let text = |row: &Row| row.text("text").unwrap().unwrap().to_string();
        found.iter().map(|row| (row.line, text(row))).collect()
    };
    let (one, two, three) = ("one".to_string(), "two".to_string(), "three".to_string());
    let paragraphs = texts(Documents::Paragraphs);
    assert_eq!(paragraphs, [(1, "one\ntwo".into()), (5, three.clone())]);
    assert_eq!(texts(Documents::Lines), [(1, one), (2, two), (5, three)]);
}

#[test]
fn a_table_without_a_heading_takes_column_names() {
    let (_folder, path) = file("x.txt", "1\t2.5\t\"quoted\r\n2\t-1\ttext\r\n");
    let options = ReadOptions {
        format: Some(Format::Tsv),
        columns: ["id", "rating", "text"].map(String::from).to_vec(),
        ..ReadOptions::default()
    };
    let source = Source::new(&path, None, options).unwrap();
    let mut store = RowStore::open(&source, &mut Err, &mut |_| {}).unwrap();
    let rows = store.rows(&[0, 1]).unwrap();
    assert_eq!(
        (rows[0].fields["text"].as_str(), rows[1].line),
        (Some("\"quoted"), 2)
    );
}

/// The EOS text ends a document wherever it occurs, and a row that is read again is the same.
#[test]
fn plain_text_is_split_at_the_eos() {
    let content =
        "<|end|>one\n\n two \n<|end|>\n\nthree<|end|>four\r\nfive<|end|><|end|>\n  <|end|>six\n";
    let texts = |documents, name: &str| -> Vec<(usize, String)> {
        let (_folder, path) = if name.ends_with(".gz") {
            let level = flate2::Compression::default();
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), level);
            std::io::Write::write_all(&mut gzip, content.as_bytes()).unwrap();
            file(name, gzip.finish().unwrap())
        } else {
            file(name, content)
        };
        let options = ReadOptions {
            documents,
            separator: Some("<|end|>".into()),
            ..ReadOptions::default()
        };
        let source = Source::new(&path, None, options).unwrap();
        let mut found = Vec::new();
        let mut store =
            RowStore::open(&source, &mut Err, &mut |row| found.push(row.clone())).unwrap();
        for (row, number) in found.iter().zip(0..) {
            assert_eq!(store.rows(&[number]).unwrap(), std::slice::from_ref(row));
        }
        let text = |row: &Row| row.text("text").unwrap().unwrap().to_string();
        found.iter().map(|row| (row.line, text(row))).collect()
    };
    let of = |expected: &[(usize, &str)]| -> Vec<(usize, String)> {
        let owned = |(line, text): &(usize, &str)| (*line, (*text).to_string());
        expected.iter().map(owned).collect()
    };
    for name in ["x.txt", "x.txt.gz"] {
        let parts = [
            (1, "one"),
            (3, " two "),
            (6, "three"),
            (6, "four\nfive"),
            (8, "six"),
        ];
        assert_eq!(texts(Documents::Paragraphs, name), of(&parts));
        let whole = [
            (1, "one\n\n two"),
            (6, "three"),
            (6, "four\nfive"),
            (8, "six"),
        ];
        assert_eq!(texts(Documents::Eos, name), of(&whole));
        let lines = [
            (1, "one"),
            (3, " two "),
            (6, "three"),
            (6, "four"),
            (7, "five"),
            (8, "six"),
        ];
        assert_eq!(texts(Documents::Lines, name), of(&lines));
    }
    let (_folder, path) = file("x.txt", content);
    assert_eq!(
        rows(&path, Documents::Lines).unwrap()[0].fields["text"],
        "<|end|>one"
    );
}
