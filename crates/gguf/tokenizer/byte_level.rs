//! `tokenizer.json` of byte-level BPE (Radford et al. 2019, §2.2).

use super::pre_tokenizer::PreTokenizer;
use serde_json::{Map, Value, json};

/// The model of `tokenizer.json`.
pub(super) fn model(
    vocabulary: Map<String, Value>,
    merges: Vec<Value>,
    pre: &PreTokenizer,
) -> Value {
    json!({
        "type": "BPE",
        "dropout": null,
        "unk_token": null,
        "continuing_subword_prefix": "",
        "end_of_word_suffix": "",
        "fuse_unk": false,
        "byte_fallback": false,
        "ignore_merges": pre.ignore_merges,
        "vocab": vocabulary,
        "merges": merges,
    })
}

/// What turns tokens into texts again.
pub(super) fn decoder() -> Value {
    json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true})
}
