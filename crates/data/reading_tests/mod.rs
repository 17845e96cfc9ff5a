//! Tests of reading: shapes, tokens, truncation, bad files, and streaming.

mod bad_file_tests;
mod chat_tests;
mod format_tests;
#[cfg(feature = "parquet")]
mod parquet_tests;
mod shape_tests;
mod streaming_tests;
mod token_tests;
mod transformers_tests;

use crate::*;
use rlhf_lm::Tokenizer;
use rlhf_objective::Sequences;
use serde_json::{Value, json};
use std::path::PathBuf;

/// A tokenizer of ten ids without text.
fn ids() -> Tokenizer {
    Tokenizer::load(tempfile::tempdir().unwrap().path(), 10).unwrap()
}

/// A tokenizer of single characters that knows "ab" and four special tokens, and puts `<s>` before
/// a text.
fn characters() -> Tokenizer {
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
fn settings(tokenizer: Tokenizer, eos: Option<u32>, bos: Option<u32>) -> Settings {
    let size = if tokenizer.is_ids() { 10 } else { 200 };
    let vocabulary = Vocabulary {
        tokenizer,
        size,
        ends: eos.into_iter().collect(),
        append: AppendEos::Always,
        bos,
    };
    Settings::new(vocabulary, Limits::context(1000))
}

/// A file in a new temporary folder.
fn file(name: &str, content: impl AsRef<[u8]>) -> (tempfile::TempDir, PathBuf) {
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

/// Values as JSON lines.
fn lines(rows: &[Value]) -> String {
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

fn texts(sequences: &Sequences) -> Vec<(String, String)> {
    let responses = sequences.responses().iter();
    responses
        .map(|response| {
            let prompt = &sequences.prompts()[response.prompt];
            (prompt.text.clone(), response.text.clone())
        })
        .collect()
}

/// A template of a checkpoint folder.
fn template(source: &str) -> Result<Option<Template>> {
    let config = json!({"chat_template": source, "bos_token": "<s>", "eos_token": {"content": "<|im_end|>"}});
    let (folder, _) = file("tokenizer_config.json", config.to_string());
    Template::load(folder.path())
}

fn said(role: &str, content: &str) -> Value {
    json!({"role": role, "content": content})
}
