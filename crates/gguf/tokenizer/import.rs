//! From a GGUF file's tokenizer to the files of a folder.

use super::sentence_piece::{self, BLANK, Prefix};
use super::{TokenKind, byte_level, end_tokens, pre_tokenizer};
use crate::{GgufFile, Result};
use serde_json::{Map, Value, json};
use std::collections::HashMap;

/// The files of a folder's tokenizer.
#[derive(Debug)]
pub(crate) struct Files {
    /// `tokenizer.json`.
    pub(crate) tokenizer: Value,
    /// `tokenizer_config.json`.
    pub(crate) config: Value,
}

const KEY: &str = "tokenizer.ggml";

/// A file's vocabulary.
struct Vocabulary {
    tokens: Vec<String>,
    kinds: Vec<TokenKind>,
}

/// The tokenizer of a file; none where it says that it has none.
pub(crate) fn import(file: &GgufFile, notes: &mut Vec<String>) -> Result<Option<Files>> {
    let key = format!("{KEY}.model");
    let (tokenizer, class) = match file.text(&key)? {
        None | Some("none" | "no_vocab") => {
            notes.push("the file has no tokenizer: texts are ids separated by blanks".into());
            return Ok(None);
        }
        Some("gpt2") => (byte_level(file, notes)?, "PreTrainedTokenizerFast"),
        Some("llama") => (sentence_piece(file)?, "PreTrainedTokenizerFast"),
        Some(other) => {
            return Err(file.invalid(format!(
                "`{key}` is {other:?}, which is not read: gpt2 (byte-level BPE) and llama \
                 (SentencePiece) are"
            )));
        }
    };
    let config = config(file, class)?;
    Ok(Some(Files { tokenizer, config }))
}

impl Vocabulary {
    fn read(file: &GgufFile) -> Result<Self> {
        let key = format!("{KEY}.tokens");
        let tokens = file.required(&key, file.strings(&key))?.to_vec();
        let key = format!("{KEY}.token_type");
        let kinds = match file.numbers(&key)? {
            None => vec![TokenKind::Normal; tokens.len()],
            Some(kinds) => kinds.into_iter().map(TokenKind::from_number).collect(),
        };
        if kinds.len() != tokens.len() {
            return Err(file.invalid(format!(
                "`{key}` has {} values for {} tokens: convert the model to GGUF again",
                kinds.len(),
                tokens.len()
            )));
        }
        let mut first = HashMap::new();
        for (id, token) in tokens.iter().enumerate() {
            if let Some(other) = first.insert(token, id) {
                return Err(file.invalid(format!(
                    "`{KEY}.tokens` has {token:?} twice, as {other} and {id}: convert the model to GGUF \
                     again"
                )));
            }
        }
        Ok(Self { tokens, kinds })
    }

    /// Each token with its id.
    fn ids(&self) -> Map<String, Value> {
        let ids = self.tokens.iter().enumerate();
        ids.map(|(id, token)| (token.clone(), id.into())).collect()
    }

    /// The tokens that are looked for in a text before it is cut.
    fn added(&self) -> Vec<Value> {
        let tokens = self.tokens.iter().zip(&self.kinds).enumerate();
        let added = tokens.filter_map(|(id, (token, kind))| {
            let special = match kind {
                TokenKind::Control | TokenKind::Unknown => true,
                TokenKind::UserDefined => false,
                _ => return None,
            };
            Some(json!({
                "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false, "special": special,
            }))
        });
        added.collect()
    }
}

fn byte_level(file: &GgufFile, notes: &mut Vec<String>) -> Result<Value> {
    let vocabulary = Vocabulary::read(file)?;
    let key = format!("{KEY}.pre");
    let name = file.text(&key)?.unwrap_or_else(|| {
        notes.push(format!(
            "the file has no `{key}`: texts are cut as GPT-2 cuts them"
        ));
        "gpt-2"
    });
    let Some(pre) = pre_tokenizer::of_name(name) else {
        let known = pre_tokenizer::names();
        return Err(file.invalid(format!(
            "`{key}` is {name:?}, which is not read; these are: {known}"
        )));
    };
    let key = format!("{KEY}.merges");
    let mut merges = Vec::new();
    for merge in file.required(&key, file.strings(&key))? {
        // A piece may be empty of letters only where the file is damaged.
        let at = merge.char_indices().skip(1).find(|(_, c)| *c == ' ');
        let Some((at, _)) = at else {
            return Err(file.invalid(format!(
                "`{key}` has {merge:?}, which is not two tokens: convert the model to GGUF again"
            )));
        };
        merges.push(json!([merge[..at], merge[at + 1..]]));
    }
    check_merges(file, &vocabulary, &merges)?;
    let added = vocabulary.added();
    let normalizer = if pre.composed {
        json!({"type": "NFC"})
    } else {
        Value::Null
    };
    let model = byte_level::model(vocabulary.ids(), merges, pre);
    let after = beginning(file, &vocabulary, false)?.unwrap_or_else(
        || json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": false, "use_regex": true}),
    );
    Ok(whole(
        added,
        normalizer,
        pre.json(),
        after,
        byte_level::decoder(),
        model,
    ))
}

/// Both parts of a merge and what they make must be tokens, or no library reads the tokenizer.
fn check_merges(file: &GgufFile, vocabulary: &Vocabulary, merges: &[Value]) -> Result<()> {
    let ids: std::collections::HashSet<&str> =
        vocabulary.tokens.iter().map(String::as_str).collect();
    for merge in merges {
        let parts = [&merge[0], &merge[1]].map(|part| part.as_str().unwrap_or_default());
        let union = parts.concat();
        let missing = parts
            .into_iter()
            .chain([union.as_str()])
            .find(|token| !ids.contains(token));
        if let Some(missing) = missing {
            return Err(file.invalid(format!(
                "`{KEY}.merges` has {:?}, but {missing:?} is no token: convert the model to GGUF again",
                parts.join(" ")
            )));
        }
    }
    Ok(())
}

fn sentence_piece(file: &GgufFile) -> Result<Value> {
    let mut vocabulary = Vocabulary::read(file)?;
    let key = format!("{KEY}.scores");
    let scores = file.required(&key, file.numbers(&key))?;
    if scores.len() != vocabulary.tokens.len() {
        return Err(file.invalid(format!(
            "`{key}` has {} values for {} tokens: convert the model to GGUF again",
            scores.len(),
            vocabulary.tokens.len()
        )));
    }
    let gemma = file
        .text("general.architecture")?
        .is_some_and(|name| name.starts_with("gemma"));
    if gemma {
        // Its files have blanks in tokens of blanks alone, where the library looks for the sign.
        for token in &mut vocabulary.tokens {
            if token.len() > 1 && token.chars().all(|c| c == ' ') {
                *token = BLANK.repeat(token.len());
            }
        }
    }
    let merges = match (file.strings(&format!("{KEY}.merges"))?, gemma) {
        // Gemma's scores are not in the order of its merges; its ids are.
        (None, true) => {
            let positions: Vec<f64> = (0..scores.len()).map(|id| -(id as f64)).collect();
            sentence_piece::merges(&vocabulary.tokens, &positions)
        }
        (None, false) => sentence_piece::merges(&vocabulary.tokens, &scores),
        (Some(merges), _) => merges
            .iter()
            .filter_map(|merge| merge.split_once(' '))
            .map(|(left, right)| (left.into(), right.into()))
            .collect(),
    };
    let merges: Vec<Value> = merges
        .into_iter()
        .map(|(left, right)| json!([left, right]))
        .collect();
    check_merges(file, &vocabulary, &merges)?;
    let blank = file
        .flag(&format!("{KEY}.add_space_prefix"))?
        .unwrap_or(!gemma);
    let prefix = if blank { Prefix::Blank } else { Prefix::None };
    let unknown = token(file, "unknown_token_id")?;
    let after = beginning(file, &vocabulary, true)?.unwrap_or(Value::Null);
    let model = sentence_piece::model(vocabulary.ids(), merges, unknown.as_ref());
    let normalizer = sentence_piece::normalizer(prefix);
    let decoder = sentence_piece::decoder(prefix);
    Ok(whole(
        vocabulary.added(),
        normalizer,
        Value::Null,
        after,
        decoder,
        model,
    ))
}

/// The post-processor that puts the beginning-of-sequence token before a text, if one is put there;
/// `default` holds where the file does not say.
fn beginning(file: &GgufFile, vocabulary: &Vocabulary, default: bool) -> Result<Option<Value>> {
    let pre = file.text(&format!("{KEY}.pre"))?.unwrap_or_default();
    let default = default || ["llama-bpe", "llama3", "llama-v3", "falcon3"].contains(&pre);
    let adds = file
        .flag(&format!("{KEY}.add_bos_token"))?
        .unwrap_or(default);
    let Some(id) = file.uint(&format!("{KEY}.bos_token_id"))?.filter(|_| adds) else {
        return Ok(None);
    };
    let Some(text) = vocabulary.tokens.get(id as usize) else {
        return Err(out_of_vocabulary(file, "bos_token_id", id));
    };
    let sequence = |id: &str, kind: u32| json!({"Sequence": {"id": id, "type_id": kind}});
    let special = |kind: u32| json!({"SpecialToken": {"id": text, "type_id": kind}});
    let token = json!({"id": text, "ids": [id], "tokens": [text]});
    Ok(Some(json!({
        "type": "TemplateProcessing",
        "single": [special(0), sequence("A", 0)],
        "pair": [special(0), sequence("A", 0), special(1), sequence("B", 1)],
        "special_tokens": {text.as_str(): token},
    })))
}

fn out_of_vocabulary(file: &GgufFile, name: &str, id: u32) -> crate::Error {
    file.invalid(format!(
        "`{KEY}.{name}` is {id}, which is not in the vocabulary: convert the model to GGUF again"
    ))
}

fn whole(
    added: Vec<Value>,
    normalizer: Value,
    pre_tokenizer: Value,
    post_processor: Value,
    decoder: Value,
    model: Value,
) -> Value {
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": added,
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": post_processor,
        "decoder": decoder,
        "model": model,
    })
}

/// The text of a token that a key names.
fn token(file: &GgufFile, name: &str) -> Result<Option<String>> {
    let Some(id) = file.uint(&format!("{KEY}.{name}"))? else {
        return Ok(None);
    };
    let tokens = file.strings(&format!("{KEY}.tokens"))?.unwrap_or_default();
    match tokens.get(id as usize) {
        Some(token) => Ok(Some(token.clone())),
        None => Err(out_of_vocabulary(file, name, id)),
    }
}

/// `tokenizer_config.json`: the tokens that have names, and the chat template.
fn config(file: &GgufFile, class: &str) -> Result<Value> {
    let mut config = Map::new();
    config.insert("tokenizer_class".into(), class.into());
    config.insert("clean_up_tokenization_spaces".into(), false.into());
    for (name, key) in [
        ("bos_token", "bos_token_id"),
        ("eos_token", "eos_token_id"),
        ("unk_token", "unknown_token_id"),
        ("pad_token", "padding_token_id"),
    ] {
        if let Some(token) = token(file, key)? {
            config.insert(name.into(), token.into());
        }
    }
    for name in ["add_bos_token", "add_eos_token"] {
        if let Some(flag) = file.flag(&format!("{KEY}.{name}"))? {
            config.insert(name.into(), flag.into());
        }
    }
    let context = end_tokens::context(file)?;
    config.insert("model_max_length".into(), context.into());
    let main = file.text("tokenizer.chat_template")?;
    let named = file
        .strings("tokenizer.chat_templates")?
        .unwrap_or_default();
    let mut templates = Vec::new();
    for name in named {
        let key = format!("tokenizer.chat_template.{name}");
        let template = file.required(&key, file.text(&key))?;
        templates.push(json!({"name": name, "template": template}));
    }
    match (main, templates.is_empty()) {
        (None, true) => {}
        (Some(main), true) => _ = config.insert("chat_template".into(), main.into()),
        (main, false) => {
            if let Some(main) = main {
                templates.insert(0, json!({"name": "default", "template": main}));
            }
            config.insert("chat_template".into(), templates.into());
        }
    }
    Ok(Value::Object(config))
}
