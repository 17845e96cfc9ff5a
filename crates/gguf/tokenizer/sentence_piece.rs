//! `tokenizer.json` of vocabularies of SentencePiece, whose pieces have scores (model `llama` in GGUF).
//!
//! llama.cpp merges the two neighbours whose union has the highest score. As transformers does, this is
//! written as BPE: each way in which two pieces make a third is a merge, the best scores first.

use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// What stands for a blank in vocabularies.
pub(super) const BLANK: &str = "▁";

/// The merges of a vocabulary, in the order of transformers' `generate_merges`: by score, then the length
/// of the left piece, then of the right one, the greatest first; then by ids. Lengths are in characters.
pub(super) fn merges(tokens: &[String], scores: &[f64]) -> Vec<(String, String)> {
    let ids: HashMap<&str, usize> = tokens
        .iter()
        .enumerate()
        .map(|(id, token)| (token.as_str(), id))
        .collect();
    let mut merges = Vec::new();
    for (token, score) in tokens.iter().zip(scores) {
        let splits = token.char_indices().enumerate().skip(1);
        let mut found: Vec<_> = splits
            .filter_map(|(characters, (at, _))| {
                let (left, right) = token.split_at(at);
                let ids = (*ids.get(left)?, *ids.get(right)?);
                let lengths = (characters, right.chars().count());
                Some((*score, lengths, ids, left, right))
            })
            .collect();
        found.sort_by_key(|(_, _, ids, ..)| *ids);
        merges.extend(found);
    }
    // A stable sort: what is equal stays in the order of the vocabulary.
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.cmp(&a.1)));
    let pair = |(_, _, _, left, right): (_, _, _, &str, &str)| (left.into(), right.into());
    merges.into_iter().map(pair).collect()
}

/// The model of `tokenizer.json`.
pub(super) fn model(
    vocabulary: Map<String, Value>,
    merges: Vec<Value>,
    unknown: Option<&String>,
) -> Value {
    json!({
        "type": "BPE",
        "dropout": null,
        "unk_token": unknown,
        "continuing_subword_prefix": null,
        "end_of_word_suffix": null,
        "fuse_unk": true,
        "byte_fallback": true,
        "ignore_merges": false,
        "vocab": vocabulary,
        "merges": merges,
    })
}

/// Whether a blank is put before a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prefix {
    Blank,
    None,
}

/// What cuts texts: a text is one piece, its blanks written as [`BLANK`].
pub(super) fn pre_tokenizer(prefix: Prefix) -> Value {
    let scheme = match prefix {
        Prefix::Blank => "first",
        Prefix::None => "never",
    };
    json!({"type": "Metaspace", "replacement": BLANK, "prepend_scheme": scheme, "split": false})
}

/// What turns tokens into texts again.
pub(super) fn decoder(prefix: Prefix) -> Value {
    let mut decoders = vec![
        json!({"type": "Replace", "pattern": {"String": BLANK}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if prefix == Prefix::Blank {
        decoders.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    json!({"type": "Sequence", "decoders": decoders})
}

/// Which prefix a `tokenizer.json` puts before a text; none where it is cut another way.
pub(super) fn prefix(tokenizer: &Map<String, Value>) -> Option<Prefix> {
    let parts = |value: &Value, list: &str| match value[list].as_array() {
        Some(all) => all.clone(),
        None => vec![value.clone()],
    };
    let normalizer = parts(&tokenizer["normalizer"], "normalizers");
    let cutter = &tokenizer["pre_tokenizer"];
    let replaces = |part: &Value| part["type"] == "Replace" && part["content"] == BLANK;
    let prepends = |part: &Value| part["type"] == "Prepend" && part["prepend"] == BLANK;
    match cutter["type"].as_str() {
        Some("Metaspace") => match (&cutter["prepend_scheme"], &cutter["add_prefix_space"]) {
            (Value::String(scheme), _) if scheme == "never" => Some(Prefix::None),
            (Value::Null, Value::Bool(false)) => Some(Prefix::None),
            _ => Some(Prefix::Blank),
        },
        // Gemma's cuts at blanks, of which its normalizer has left none.
        None | Some("Split") if normalizer.iter().any(replaces) => {
            let prefixed = normalizer.iter().any(prepends);
            Some(if prefixed {
                Prefix::Blank
            } else {
                Prefix::None
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_are_in_the_order_of_scores() {
        let tokens = ["a", "b", "c", "ab", "bc", "abc"].map(String::from);
        let scores = [-9.0, -9.0, -9.0, -1.0, -2.0, -1.0];
        let merges = merges(&tokens, &scores);
        let pairs: Vec<(&str, &str)> = merges.iter().map(|(a, b)| (&**a, &**b)).collect();
        assert_eq!(pairs, [("ab", "c"), ("a", "bc"), ("a", "b"), ("b", "c")]);
    }
}
