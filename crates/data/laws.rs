//! What holds of every reading: shapes, tokens, cuts, and that a file of any size is read as one in
//! memory.

use crate::*;
use rlhf_lm::Tokenizer;
use rlhf_objective::{Finish, Items, Prompt, Sequences};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// A tokenizer of ten ids without text.
pub(crate) fn ids() -> Tokenizer {
    Tokenizer::load(tempfile::tempdir().unwrap().path(), 10).unwrap()
}

/// A tokenizer of single characters that knows "ab" and four special tokens, and puts `<s>` before
/// a text.
pub(crate) fn characters() -> Tokenizer {
    let special = ["<s>", "</s>", "<|im_start|>", "<|im_end|>"];
    let mut vocab = serde_json::Map::new();
    let characters = (' '..='~').chain(['\n']).map(String::from);
    for (id, token) in special
        .iter()
        .map(ToString::to_string)
        .chain(characters)
        .enumerate()
    {
        vocab.insert(token, id.into());
    }
    vocab.insert("ab".into(), vocab.len().into());
    let added = |(id, token): (usize, &&str)| {
        json!({"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    };
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": special.iter().enumerate().map(added).collect::<Vec<_>>(),
        "pre_tokenizer": null, "decoder": {"type": "Fuse"},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab,
            "merges": ["a b"]},
    });
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    Tokenizer::load(folder.path(), 200).unwrap()
}

/// Settings of a checkpoint with these special tokens.
pub(crate) fn settings(tokenizer: Tokenizer, eos: Option<u32>, bos: Option<u32>) -> Settings {
    let size = if tokenizer.is_ids() { 10 } else { 200 };
    let vocabulary = Vocabulary {
        tokenizer,
        size,
        eos,
        bos,
    };
    Settings::new(vocabulary, Limits::context(1000))
}

/// A file in a folder of its own.
pub(crate) fn file(name: &str, content: impl AsRef<[u8]>) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    (folder, path)
}

fn with<T>(
    content: &str,
    (eos, bos): (Option<u32>, Option<u32>),
    context: usize,
    read: impl FnOnce(&mut Reader, &[Row]) -> Result<T>,
) -> (Result<T>, Notes) {
    let (_folder, path) = file("x.jsonl", content);
    let mut reader = Reader::new(Settings {
        limits: Limits::context(context),
        ..settings(ids(), eos, bos)
    });
    let result = read(&mut reader, &rows(&path, Documents::Lines).unwrap());
    (result, reader.notes)
}

const NONE: (Option<u32>, Option<u32>) = (None, None);
const BOTH: (Option<u32>, Option<u32>) = (Some(9), Some(8));

/// The rows of JSON values.
pub(crate) fn lines(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

fn read<T>(
    settings: Settings,
    content: &[Value],
    read: impl FnOnce(&mut Reader, &[Row]) -> Result<T>,
) -> (Result<T>, Notes) {
    let (_folder, path) = file("x.jsonl", lines(content));
    let mut reader = Reader::new(settings);
    let result = read(&mut reader, &rows(&path, Documents::Lines).unwrap());
    (result, reader.notes)
}

#[test]
fn prompts_keep_their_fields_and_their_end() {
    let content = "{\"prompt_ids\": [1, 2, 3, 4], \"answer\": 5}\n{\"prompt_ids\": []}\n";
    let (prompts, notes) = with(content, BOTH, 3, |reader, rows| reader.prompts(rows));
    let prompts = prompts.unwrap();
    assert_eq!(prompts[0].ids, [2, 3, 4]);
    assert_eq!(prompts[0].fields["answer"], 5);
    assert_eq!(prompts[1].ids, [8]);
    assert_eq!((notes.cut_prompts, notes.empty_prompts), (1, 1));
    assert_eq!(notes.sentences().len(), 2);
    let (error, _) = with(content, NONE, 9, |reader, rows| reader.prompts(rows));
    let error = error.unwrap_err().to_string();
    assert!(
        error
            .ends_with(":2: the prompt is empty and the checkpoint has no bos token to start with"),
        "{error}"
    );
}

#[test]
fn pairs_share_their_prompt_and_end_once() {
    let content = "{\"prompt_ids\": [1], \"chosen_ids\": [2, 9, 9], \"rejected_ids\": []}\n\
         {\"prompt_ids\": [1], \"chosen_ids\": [2], \"rejected_ids\": [2, 9]}\n\
         {\"prompt_ids\": [1, 2, 3], \"chosen_ids\": [4, 5, 6, 7], \"rejected_ids\": [5]}\n";
    let (pairs, notes) = with(content, BOTH, 4, |reader, rows| reader.pairs(rows));
    let pairs = pairs.unwrap();
    assert_eq!((pairs.len(), pairs.sequences().prompts().len()), (2, 2));
    let ids = |i: usize| pairs.sequences().responses()[i].ids.as_slice();
    assert_eq!((ids(0), ids(1)), ([2, 9].as_slice(), [9].as_slice()));
    assert_eq!((ids(2), ids(3)), ([4, 5, 6].as_slice(), [5, 9].as_slice()));
    let finish = |i: usize| pairs.sequences().responses()[i].finish;
    assert_eq!((finish(1), finish(2)), (Finish::Eos, Finish::Length));
    assert_eq!(pairs.sequences().prompt_of(2).ids, [2, 3]);
    let counts = (
        notes.identical_pairs,
        notes.cut_prompts,
        notes.cut_completions,
    );
    assert_eq!((counts, notes.empty_completions), ((1, 1, 1), 1));
}

/// Every token of a document is predicted exactly once.
#[test]
fn documents_are_cut_into_pieces() {
    let content = "{\"text_ids\": [1, 2, 3, 4, 5]}\n{\"text_ids\": [7, 6]}\n";
    for (special, expected) in [
        (
            BOTH,
            vec![(8, vec![1, 2, 3]), (3, vec![4, 5, 9]), (8, vec![7, 6, 9])],
        ),
        (NONE, vec![(1, vec![2, 3, 4]), (4, vec![5]), (7, vec![6])]),
    ] {
        let (read, _) = with(content, special, 3, |reader, rows| {
            reader.demonstrations(rows)
        });
        let read = read.unwrap();
        let responses = read.responses().iter();
        let found: Vec<_> = responses
            .map(|response| (read.prompts()[response.prompt].ids[0], response.ids.clone()))
            .collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn labels_are_true_or_false() {
    let row = |label| format!("{{\"prompt_ids\": [1], \"completion_ids\": [2], {label}}}\n");
    let content = row("\"label\": true") + &row("\"label\": 0") + &row("\"label\": \"True\"");
    let (read, _) = with(&content, BOTH, 9, |reader, rows| reader.unpaired(rows));
    let (sequences, labels) = read.unwrap();
    assert_eq!((sequences.len(), labels), (3, vec![true, false, true]));
    for (label, expected) in [
        (
            "\"label\": 2",
            "x.jsonl:1: field `label` must be true or false",
        ),
        ("\"label\": null", "x.jsonl:1: no field `label`"),
        ("\"good\": true", "x.jsonl:1: no field `label`"),
    ] {
        let (read, _) = with(&row(label), BOTH, 9, |reader, rows| reader.unpaired(rows));
        let error = read.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn errors_name_the_field() {
    for (content, expected) in [
        (
            r#"{"question": "x"}"#,
            "x.jsonl:1: no field `prompt` and no field `prompt_ids` in this row, which has `question`",
        ),
        (
            r#"{"prompt": 3}"#,
            "field `prompt` must be a string or a conversation, [{\"role\": …, \"content\": …}, …], not 3",
        ),
        (r#"{"prompt": null}"#, "field `prompt` is null"),
        (
            r#"{"prompt_ids": [-1]}"#,
            "field `prompt_ids` must be an array of token ids",
        ),
        (
            r#"{"prompt_ids": [10]}"#,
            "token 10 in `prompt_ids` is not in the vocabulary: ids end at 9",
        ),
    ] {
        let (error, _) = with(content, NONE, 9, |reader, rows| reader.prompts(rows));
        let error = error.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

fn texts(sequences: &Sequences) -> Vec<(String, String)> {
    let responses = sequences.responses().iter();
    responses
        .map(|response| {
            let prompt = &sequences.prompts()[response.prompt];
            (prompt.text.clone(), response.text.clone())
        })
        .collect()
}

#[test]
fn a_pair_may_imply_its_prompt() {
    let dialogue =
        |answer: &str| format!("\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:{answer}");
    let content = [json!({"chosen": dialogue(" yes"), "rejected": dialogue("")})];
    let settings = settings(characters(), Some(1), Some(0));
    let (pairs, notes) = read(settings.clone(), &content, |reader, rows| {
        reader.pairs(rows)
    });
    let found = texts(pairs.unwrap().sequences());
    let prompt = dialogue("");
    assert_eq!(
        found,
        [
            (prompt.clone(), " yes".into()),
            (prompt.clone(), String::new())
        ]
    );
    assert_eq!(notes.empty_completions, 1);
    let (prompts, _) = read(settings.clone(), &content, |reader, rows| {
        reader.prompts(rows)
    });
    assert_eq!(prompts.unwrap()[0].text, prompt);
    let apart = [json!({"chosen": dialogue("x"), "rejected": "\n\nHuman: no\n\nAssistant: y"})];
    let (pairs, _) = read(settings.clone(), &apart, |reader, rows| reader.pairs(rows));
    let error = pairs.unwrap_err().to_string();
    assert!(
        error.contains("x.jsonl:1: chosen and rejected share no prompt"),
        "{error}"
    );
    let none = [json!({"chosen": "x", "rejected": "y"})];
    let (pairs, _) = read(settings, &none, |reader, rows| reader.pairs(rows));
    let error = pairs.unwrap_err().to_string();
    assert!(
        error.contains("no field `prompt`, and no \"\\n\\nAssistant:\" in `chosen`"),
        "{error}"
    );
}

#[test]
fn scores_make_pairs() {
    let rows = [
        json!({"prompt": "q", "responses": ["a", "b", "c"], "scores": [1, 3, 2.5]}),
        json!({"prompt": "q", "responses": ["a", "b"], "scores": [1, 1]}),
    ];
    let base = settings(characters(), Some(1), None);
    let pairs = |pairs_of, min_margin| {
        let settings = Settings {
            pairs_of,
            min_margin,
            ..base.clone()
        };
        let (pairs, notes) = read(settings, &rows, |reader, rows| reader.pairs(rows));
        let texts = texts(pairs.unwrap().sequences());
        let answers: String = texts.into_iter().map(|(_, answer)| answer).collect();
        (answers, notes.level_scores)
    };
    assert_eq!(pairs(PairsOf::BestWorst, 0.0), ("ba".into(), 1));
    assert_eq!(pairs(PairsOf::All, 0.0), ("babcca".into(), 1));
    assert_eq!(pairs(PairsOf::All, 1.5), ("ba".into(), 1));
    let bad = [json!({"prompt": "q", "responses": ["a", "b"], "scores": [1]})];
    let (error, _) = read(base, &bad, |reader, rows| reader.pairs(rows));
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("`responses` has 2 items and `scores` has 1"),
        "{error}"
    );
}

/// The tokenizer's own BOS comes once, whoever writes it.
#[test]
fn special_tokens_are_never_doubled() {
    let settings = settings(characters(), Some(1), Some(0));
    let rows = [
        json!({"prompt": "x", "completion": "y"}),
        json!({"prompt": "<s>x", "completion": "y</s>"}),
        json!({"prompt": "x", "completion": "y</s></s>"}),
    ];
    let (read, _) = read(settings, &rows, |reader, rows| reader.completions(rows));
    let read = read.unwrap();
    for index in 0..3 {
        let prompt = read.prompt_of(index);
        assert_eq!((prompt.ids[0], prompt.ids.len()), (0, 2), "{index}");
        let response = &read.responses()[index];
        assert_eq!((response.ids.len(), response.ids[1]), (2, 1), "{index}");
    }
}

/// Numbers in the place of text are never joined.
#[test]
fn ids_written_as_text_stay_apart() {
    let content = "{\"prompt\": \"1 2\", \"completion\": \"3 4\"}\n";
    let (read, notes) = with(content, BOTH, 9, |reader, rows| reader.completions(rows));
    let read = read.unwrap();
    let (prompt, response) = (&read.prompts()[0].ids, &read.responses()[0].ids);
    assert_eq!(
        (prompt.as_slice(), response.as_slice()),
        (&[1, 2][..], &[3, 4, 9][..])
    );
    assert_eq!(notes, Notes::default());
}

/// Prompt and completion are tokenized apart; where that makes a difference it is counted.
#[test]
fn boundaries_are_those_of_sampling() {
    let settings = settings(characters(), Some(1), Some(0));
    let rows = [
        json!({"prompt": "xa", "completion": "bc"}),
        json!({"prompt": "x", "completion": "abc"}),
    ];
    let (read, notes) = read(settings, &rows, |reader, rows| reader.completions(rows));
    let lengths: Vec<_> = read
        .unwrap()
        .responses()
        .iter()
        .map(|r| r.ids.len())
        .collect();
    assert_eq!(lengths, [3, 3]);
    assert_eq!(notes.boundary_mismatches, 1);
    let place = notes.boundary_place.as_deref().unwrap();
    assert!(place.ends_with("x.jsonl:1"), "{place}");
}

const CHATML: &str = "{{ bos_token }}{% for message in messages %}\n\
    {{ '<|im_start|>' + message['role'] + '\\n' + message['content'] | trim + '<|im_end|>\\n' -}}\n\
    {% endfor %}\n\
    {% if add_generation_prompt %}\n{{ '<|im_start|>assistant\\n' -}}\n    {% endif %}\n";

/// A template of a checkpoint folder.
pub(crate) fn template(source: &str) -> Result<Option<Template>> {
    let config = json!({"chat_template": source, "bos_token": "<s>", "eos_token": {"content": "<|im_end|>"}});
    let (folder, _) = file("tokenizer_config.json", config.to_string());
    Template::load(folder.path())
}

fn chatting(source: &str) -> Settings {
    let template = template(source).unwrap().unwrap();
    Settings {
        chat: Chat::Template(Arc::new(template)),
        ..settings(characters(), Some(3), Some(0))
    }
}

fn said(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}

#[test]
fn conversations_are_written_by_the_template() {
    let prompt = json!([said("system", "s"), said("user", "hi ")]);
    let whole = |answer: &str| json!([prompt[0], prompt[1], said("assistant", answer)]);
    let expected = "<s><|im_start|>system\ns<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n";
    let rows = [
        json!({"prompt": prompt, "chosen": [said("assistant", "ok")], "rejected": [said("assistant", "")]}),
        json!({"prompt": prompt, "chosen": "ok", "rejected": ""}),
        json!({"prompt": "ignored", "chosen": whole("ok"), "rejected": whole("")}),
    ];
    for row in rows {
        let (pairs, notes) = read(chatting(CHATML), &[row], |reader, rows| reader.pairs(rows));
        let pairs = pairs.unwrap();
        let found = texts(pairs.sequences());
        assert_eq!(found[0], (expected.to_string(), "ok".into()));
        // The template writes the EOS and a line break: the EOS stays, once, and ends the response.
        let ids = |index: usize| &pairs.sequences().responses()[index].ids;
        assert_eq!(
            (ids(0).len(), ids(0)[2], ids(1).as_slice()),
            (3, 3, &[3][..])
        );
        assert_eq!(pairs.sequences().prompts()[0].ids[..2], [0, 2], "one BOS");
        assert_eq!(notes.boundary_mismatches, 0);
    }
    let rows = [json!({"chosen": whole("ok"), "rejected": whole("no")})];
    let (pairs, _) = read(chatting(CHATML), &rows, |reader, rows| reader.pairs(rows));
    assert_eq!(
        texts(pairs.unwrap().sequences())[1],
        (expected.to_string(), "no".into())
    );
    let rows = [json!({"messages": whole("ok")})];
    let (read, _) = read(chatting(CHATML), &rows, |reader, rows| {
        reader.demonstrations(rows)
    });
    let read = read.unwrap();
    assert_eq!(
        (read.prompts()[0].ids.as_slice(), read.len()),
        (&[0][..], 1)
    );
    assert_eq!(read.responses()[0].ids.last(), Some(&3));
    assert_ne!(read.responses()[0].ids[0], 0, "one BOS");
}

/// What `transformers` lets templates do.
#[test]
fn templates_know_what_python_knows() {
    let tools = json!({"a": [1, {"b": "é<"}], "c": null});
    for (source, expected) in [
        (
            "{%- for m in messages[::-1] -%}{{ m.content }}{%- endfor -%}",
            "yx",
        ),
        (
            "{% for m in messages %}\n  {% if loop.first %}\n{{ m['content'].upper() }}\n  {% endif %}\n{% endfor %}\n",
            "X\n",
        ),
        (
            "{{ messages[0].more | tojson }}",
            "{\"a\": [1, {\"b\": \"é<\"}], \"c\": null}",
        ),
        (
            "{{ messages[0].more.a[1] | tojson(indent=2) }}",
            "{\n  \"b\": \"é<\"\n}",
        ),
        ("{{ strftime_now('%d %b %Y') }}", "26 Jul 2024"),
        (
            "{% for m in messages %}{%- generation -%} {{ m.content }} {% endgeneration %}{% endfor %}",
            "x y ",
        ),
        (
            "{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{% endfor %}{{ ns.n }}{{ eos_token }}",
            "2<|im_end|>",
        ),
        (
            "{% for m in messages %}{% if m.content == 'y' %}{% break %}{% endif %}{{ m.content }}{% endfor %}",
            "x",
        ),
        (
            "{{ messages[0]['content'].strip().split('x')[-1] }}{{ tools is defined }}",
            "False",
        ),
        (
            "{% macro f(x) %}[{{ x }}]{% endmacro %}{{ f(messages[-1].content) }}{{ range(3, 0, -1) | list }}",
            "[y][3, 2, 1]",
        ),
    ] {
        let first = json!({"role": "user", "content": "x", "more": tools});
        let row = json!({"messages": [first, said("assistant", "y")]});
        let (_folder, path) = file("x.jsonl", lines(&[row]));
        let row = rows(&path, Documents::Lines).unwrap().remove(0);
        let template = template(source).unwrap().unwrap();
        let messages = row.fields["messages"].as_array().unwrap();
        assert_eq!(
            template.render(&row, messages, false).unwrap(),
            expected,
            "{source}"
        );
    }
}

#[test]
fn a_template_may_be_a_list_or_a_file() {
    let list = json!({"chat_template": [{"name": "tool_use", "template": "no"},
        {"name": "default", "template": "{{ messages[0].content }}!"}]});
    let row = Row {
        path: Path::new("x").into(),
        line: 1,
        fields: serde_json::Map::new(),
    };
    let say = |template: &Template| template.render(&row, &[said("user", "x")], true).unwrap();
    for (name, content) in [
        ("tokenizer_config.json", list.to_string()),
        ("chat_template.json", list.to_string()),
        (
            "chat_template.jinja",
            "{{ messages[0].content }}!".to_string(),
        ),
    ] {
        let (folder, path) = file(name, content);
        assert_eq!(say(&Template::load(folder.path()).unwrap().unwrap()), "x!");
        assert_eq!(
            say(&Template::from_file(&path, folder.path()).unwrap()),
            "x!"
        );
    }
    let (folder, _) = file("tokenizer_config.json", "{}");
    assert!(Template::load(folder.path()).unwrap().is_none());
}

/// The rows of every format, and the corpus made of them.
#[test]
fn every_format_is_the_same_data() {
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
        let source = Source::new(&path, None, Reading::default()).unwrap();
        let store = Store::open(&source, &mut Err, &mut |_| {}).unwrap();
        let mut store = store;
        assert_eq!(
            store.rows(&[2, 0, 1, 1]).unwrap(),
            [2, 0, 1, 1].map(|i: usize| found[i].clone())
        );
    }
}

#[test]
fn json_lines_and_arrays_know_their_lines() {
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
fn plain_text_is_documents() {
    let content = "one\ntwo\n\n\nthree\r\n";
    let texts = |documents| -> Vec<(usize, String)> {
        let (_folder, path) = file("x.txt", content);
        let found = rows(&path, documents).unwrap();
        let reading = Reading {
            documents,
            ..Reading::default()
        };
        let source = Source::new(&path, None, reading).unwrap();
        let mut store = Store::open(&source, &mut Err, &mut |_| {}).unwrap();
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
fn a_table_without_a_heading_has_its_columns_named() {
    let (_folder, path) = file("x.txt", "1\t2.5\t\"quoted\r\n2\t-1\ttext\r\n");
    let reading = Reading {
        format: Some(Format::Tsv),
        columns: ["id", "rating", "text"].map(String::from).to_vec(),
        ..Reading::default()
    };
    let source = Source::new(&path, None, reading).unwrap();
    let mut store = Store::open(&source, &mut Err, &mut |_| {}).unwrap();
    let rows = store.rows(&[0, 1]).unwrap();
    assert_eq!(
        (rows[0].fields["text"].as_str(), rows[1].line),
        (Some("\"quoted"), 2)
    );
}

fn corpus(path: &Path, settings: Settings, wanted: Wanted) -> Result<(Corpus, Notes)> {
    let source = Source::new(path, None, Reading::default())?;
    let mut reader = Reader::new(settings);
    let store = Store::open(&source, &mut Err, &mut |_| {})?;
    let numbers: Vec<u32> = (0..store.len() as u32).collect();
    let corpus = Corpus::new(&Arc::new(Mutex::new(store)), &numbers, &mut reader, wanted)?;
    Ok((corpus, reader.notes))
}

fn flat(sequences: &Sequences) -> Vec<(Arc<Prompt>, Vec<u32>, Finish)> {
    let responses = sequences.responses().iter();
    let flat = |r: &Arc<rlhf_objective::Response>| {
        (
            sequences.prompts()[r.prompt].clone(),
            r.ids.clone(),
            r.finish,
        )
    };
    responses.map(flat).collect()
}

/// What a step reads is what reading everything would have given it, whatever the order.
#[test]
fn a_corpus_reads_what_a_step_needs() {
    let pairs: Vec<_> = (0..50)
        .map(|i| json!({"prompt": format!("q{i}"), "chosen": "good", "rejected": if i % 7 == 0 { "good" } else { "bad" }}))
        .collect();
    let texts: Vec<_> = (0..20)
        .map(|i| json!({"text": "some words ".repeat(i + 1)}))
        .collect();
    for (rows, wanted, group) in [
        (&pairs, Wanted::Pairs, 2),
        (&texts, Wanted::Demonstrations, 1),
    ] {
        let (_folder, path) = file("x.jsonl", lines(rows));
        let settings = Settings {
            limits: Limits::context(32),
            ..settings(characters(), Some(1), Some(0))
        };
        let (mut corpus, notes) = corpus(&path, settings.clone(), wanted).unwrap();
        let mut reader = Reader::new(settings);
        let rows = crate::rows(&path, Documents::Lines).unwrap();
        let whole = match wanted {
            Wanted::Pairs => reader.pairs(&rows).unwrap().sequences().clone(),
            _ => reader.demonstrations(&rows).unwrap(),
        };
        assert_eq!(notes, reader.notes);
        assert_eq!(corpus.count() * group, whole.len());
        let items: Vec<usize> = (0..corpus.count()).rev().step_by(3).collect();
        let expected: Vec<_> = items
            .iter()
            .flat_map(|i| group * i..group * i + group)
            .collect();
        assert_eq!(
            flat(&corpus.read(&items).unwrap()),
            flat(&whole.select(&expected))
        );
        for item in 0..corpus.count() {
            assert_eq!(
                corpus.cost(item),
                whole.network_tokens(group * item..group * (item + 1))
            );
        }
        let all = corpus.all(7).unwrap();
        assert_eq!((all.len(), all.tokens()), (whole.len(), whole.tokens()));
        assert!(
            all.prompts()
                .iter()
                .all(|prompt| prompt.fields.is_empty() && prompt.text.is_empty())
        );
        // A file that changes under a run is an error, not other rows.
        if wanted == Wanted::Pairs {
            std::fs::write(&path, "{}\n").unwrap();
            let error = corpus.read(&[0]).unwrap_err().to_string();
            assert!(error.contains("was changed while it was in use"), "{error}");
        }
    }
}

/// The same tokens in the same order for any number of threads.
#[test]
fn threads_change_nothing() {
    let rows: Vec<_> = (0..500)
        .map(|i| json!({"prompt": format!("{i} ab"), "completion": "x".repeat(i % 40)}))
        .collect();
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| {
            let settings = settings(characters(), Some(1), Some(0));
            let (read, notes) = read(settings, &rows, |reader, rows| reader.completions(rows));
            (flat(&read.unwrap()), notes)
        })
    };
    assert_eq!(on(1), on(3));
}
