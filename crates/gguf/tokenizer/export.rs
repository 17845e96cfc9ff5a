//! From the files of a folder to a GGUF file's tokenizer.

use super::folder::{Folder, NAMED};
use super::sentence_piece::{self, Prefix};
use super::{TokenKind, end_tokens, pre_tokenizer};
use crate::config::{Config, object};
use crate::{Error, Result, Value};
use serde_json::{Map, Value as Json};
use std::collections::HashMap;
use std::path::Path;

const KEY: &str = "tokenizer.ggml";

/// The metadata of a file's tokenizer.
#[derive(Debug, Default)]
pub(crate) struct Vocabulary {
    pub(crate) keys: Vec<(String, Value)>,
    pub(crate) notes: Vec<String>,
}

impl Vocabulary {
    fn end(&mut self, ends: Vec<(String, u32)>) {
        let ends = ends.into_iter().map(|(key, id)| (key, Value::u32(id)));
        self.keys.extend(ends);
    }

    fn put(&mut self, name: &str, value: Value) {
        self.keys.push((format!("{KEY}.{name}"), value));
    }
}

/// The tokens of a network with so many rows of embeddings.
struct Tokens {
    texts: Vec<String>,
    kinds: Vec<TokenKind>,
}

/// The tokenizer of a folder whose network has `rows` entries.
pub(crate) fn export(folder: &Path, config: &Config, rows: usize) -> Result<Vocabulary> {
    let mut vocabulary = Vocabulary::default();
    let Some(files) = Folder::open(folder)? else {
        vocabulary.put("model", Value::String("none".into()));
        let note = "the folder has no tokenizer that is read (tokenizer.json, or vocab.json with \
                    merges.txt): llama.cpp takes and gives ids only";
        vocabulary.notes.push(note.into());
        for (_, key, setting) in NAMED {
            let ids = of_settings(folder, config, setting, rows)?;
            let (ends, _) = end_tokens::keys(&ids, |_| None);
            match setting {
                "eos_token_id" => vocabulary.end(ends),
                _ => ids
                    .first()
                    .into_iter()
                    .for_each(|id| vocabulary.put(key, Value::u32(*id))),
            }
        }
        return Ok(vocabulary);
    };
    let model = &files.tokenizer["model"];
    let kind = model["type"].as_str().unwrap_or("BPE");
    if kind != "BPE" {
        return Err(files.invalid(format!(
            "is a tokenizer of the kind {kind}: only BPE can be exported, byte-level or with byte \
             fallback"
        )));
    }
    let mut tokens = Tokens::of_folder(&files, rows, &mut vocabulary.notes)?;
    let pairs = merges(&files, model)?;
    if model["byte_fallback"] == true {
        pieces(&files, model, &mut tokens, &pairs, &mut vocabulary)?
    } else {
        byte_level(&files, model, &tokens, &pairs, &mut vocabulary)?
    }
    named(folder, &files, config, &tokens, &mut vocabulary)?;
    for (name, template) in files.templates(folder)? {
        let key = match name.as_str() {
            "default" => "tokenizer.chat_template".to_string(),
            name => format!("tokenizer.chat_template.{name}"),
        };
        vocabulary.keys.push((key, Value::String(template)));
    }
    let others = vocabulary
        .keys
        .iter()
        .filter_map(|(key, _)| key.strip_prefix("tokenizer.chat_template."));
    let others: Vec<String> = others.map(String::from).collect();
    if !others.is_empty() {
        let key = "tokenizer.chat_templates".to_string();
        vocabulary.keys.push((key, Value::strings(others)));
    }
    Ok(vocabulary)
}

impl Tokens {
    fn of_folder(files: &Folder, rows: usize, notes: &mut Vec<String>) -> Result<Self> {
        let vocabulary = files.tokenizer["model"]["vocab"].as_object();
        let vocabulary =
            vocabulary.ok_or_else(|| files.invalid("has no `vocab`: copy it again"))?;
        let mut texts = vec![None; rows];
        let mut kinds = vec![TokenKind::Unused; rows];
        let mut beyond = Vec::new();
        for (text, id) in vocabulary {
            let wrong = || files.invalid(format!("gives {text:?} no id: copy it again"));
            let id = id.as_u64().ok_or_else(wrong)?;
            match texts.get_mut(id as usize) {
                None => beyond.push(text.clone()),
                Some(Some(other)) => {
                    let message =
                        format!("gives {text:?} and {other:?} the same id {id}: copy it again");
                    return Err(files.invalid(message));
                }
                Some(place) => {
                    *place = Some(text.clone());
                    kinds[id as usize] = if files.is_special(text) {
                        TokenKind::Control
                    } else {
                        TokenKind::Normal
                    };
                }
            }
        }
        for (id, text, special) in files.added()? {
            match texts.get_mut(id as usize) {
                None => beyond.push(text),
                Some(place) => {
                    *place = Some(text);
                    let kind = if special {
                        TokenKind::Control
                    } else {
                        TokenKind::UserDefined
                    };
                    kinds[id as usize] = kind;
                }
            }
        }
        if !beyond.is_empty() {
            beyond.sort();
            beyond.dedup();
            notes.push(format!(
                "left out {} tokens that the network has no embedding for: {}",
                beyond.len(),
                beyond[..beyond.len().min(5)].join(", ")
            ));
        }
        let unused = texts.iter().filter(|text| text.is_none()).count();
        if unused > 0 {
            notes.push(format!(
                "{unused} rows of the embedding have no token: they are marked unused"
            ));
        }
        let named =
            |(id, text): (usize, Option<String>)| text.unwrap_or_else(|| format!("[PAD{id}]"));
        let texts = texts.into_iter().enumerate().map(named).collect();
        Ok(Self { texts, kinds })
    }

    fn id(&self, text: &str) -> Option<u32> {
        let found = self.texts.iter().position(|other| other == text);
        found.map(|id| id as u32)
    }
}

/// The merges of a model, in order.
fn merges(files: &Folder, model: &Json) -> Result<Vec<[String; 2]>> {
    let pair = |merge: &Json| match merge {
        Json::String(text) => {
            let (left, right) = text.split_once(' ')?;
            Some([left.to_string(), right.to_string()])
        }
        _ => Some([
            merge[0].as_str()?.to_string(),
            merge[1].as_str()?.to_string(),
        ]),
    };
    let all = model["merges"].as_array().into_iter().flatten();
    let pairs: Option<Vec<_>> = all.map(pair).collect();
    pairs.ok_or_else(|| files.invalid("has a merge that is not two tokens: copy it again"))
}

/// Keys that both kinds of vocabulary have.
fn list(tokens: &Tokens, vocabulary: &mut Vocabulary) {
    let kinds: Vec<i32> = tokens.kinds.iter().map(|kind| *kind as i32).collect();
    vocabulary.put("tokens", Value::strings(tokens.texts.clone()));
    vocabulary.put("token_type", Value::i32s(&kinds));
}

fn byte_level(
    files: &Folder,
    model: &Json,
    tokens: &Tokens,
    pairs: &[[String; 2]],
    vocabulary: &mut Vocabulary,
) -> Result<()> {
    refuse_normalizer(files)?;
    let cutter = files.tokenizer.get("pre_tokenizer").unwrap_or(&Json::Null);
    let ignores = model["ignore_merges"] == true;
    let pre = pre_tokenizer::of_json(cutter, ignores);
    let pre = pre.map_err(|message| {
        files.invalid(format!("{message}: this tokenizer cannot be exported"))
    })?;
    if pairs.iter().flatten().any(|part| part.contains(' ')) {
        return Err(files.invalid("has a merge with a blank in a token, which GGUF cannot hold"));
    }
    vocabulary.put("model", Value::String("gpt2".into()));
    vocabulary.put("pre", Value::String(pre.names[0].into()));
    list(tokens, vocabulary);
    let joined = pairs.iter().map(|pair| pair.join(" ")).collect();
    vocabulary.put("merges", Value::strings(joined));
    Ok(())
}

/// llama.cpp brings no text to another form; composing letters is what its own converter ignores too.
fn refuse_normalizer(files: &Folder) -> Result<()> {
    let normalizer = files.tokenizer.get("normalizer").unwrap_or(&Json::Null);
    let inner = normalizer["normalizers"].as_array();
    let all = inner.map_or(std::slice::from_ref(normalizer), Vec::as_slice);
    let other = all
        .iter()
        .find(|one| !one.is_null() && one["type"] != "NFC");
    match other {
        None => Ok(()),
        Some(other) => Err(files.invalid(format!(
            "`normalizer` is {}, which llama.cpp does not do: this tokenizer cannot be exported",
            other["type"]
        ))),
    }
}

fn pieces(
    files: &Folder,
    model: &Json,
    tokens: &mut Tokens,
    pairs: &[[String; 2]],
    vocabulary: &mut Vocabulary,
) -> Result<()> {
    let prefix = sentence_piece::prefix(&files.tokenizer).ok_or_else(|| {
        files.invalid(
            "cuts texts in a way that llama.cpp's SentencePiece does not: this tokenizer cannot be \
             exported",
        )
    })?;
    if prefix == Prefix::Blank && files.tokenizer["pre_tokenizer"]["type"] == "Metaspace" {
        let note = "llama.cpp puts a blank before a text that begins with one, and after special tokens; \
                    this tokenizer does not";
        vocabulary.notes.push(note.into());
    }
    let unknown = model["unk_token"].as_str();
    for (text, kind) in tokens.texts.iter_mut().zip(&mut tokens.kinds) {
        let byte = text.len() == 6 && text.starts_with("<0x") && text.ends_with('>');
        if Some(text.as_str()) == unknown {
            *kind = TokenKind::Unknown;
        } else if byte && *kind == TokenKind::Normal {
            *kind = TokenKind::Byte;
        } else if *kind == TokenKind::UserDefined {
            // llama.cpp looks for them in the text itself.
            *text = text.replace(sentence_piece::BLANK, " ");
        }
    }
    // What a merge makes is the better the earlier the merge is.
    let mut ranks = HashMap::new();
    for (rank, pair) in pairs.iter().enumerate() {
        ranks.entry(pair.concat()).or_insert(rank);
    }
    let last = pairs.len();
    let score = |text: &String| -(*ranks.get(text).unwrap_or(&last) as f32);
    let scores: Vec<f32> = tokens.texts.iter().map(score).collect();
    vocabulary.put("model", Value::String("llama".into()));
    vocabulary.put("pre", Value::String("default".into()));
    list(tokens, vocabulary);
    vocabulary.put("scores", Value::f32s(&scores));
    vocabulary.put("add_space_prefix", Value::Bool(prefix == Prefix::Blank));
    Ok(())
}

/// The tokens that have names, and which of them are put around a text.
fn named(
    folder: &Path,
    files: &Folder,
    config: &Config,
    tokens: &Tokens,
    vocabulary: &mut Vocabulary,
) -> Result<()> {
    let mut ids = HashMap::new();
    for (name, key, setting) in NAMED {
        let mut all = of_settings(folder, config, setting, tokens.texts.len())?;
        // What the tokenizer's files name comes first.
        if let Some(id) = files.named(name).and_then(|text| tokens.id(text)) {
            all.retain(|other| *other != id);
            all.insert(0, id);
        }
        if name == "eos_token" {
            let text = |id: u32| tokens.texts.get(id as usize).map(String::as_str);
            let (keys, left) = end_tokens::keys(&all, text);
            vocabulary.end(keys);
            for id in left {
                vocabulary.notes.push(format!(
                    "llama.cpp will not stop at {id} {}: it has keys for three tokens",
                    tokens.texts[id as usize]
                ));
            }
            if all.is_empty() {
                let note = "no file names an end-of-sequence token: llama.cpp takes one of its own";
                vocabulary.notes.push(note.into());
            }
        } else if let Some(id) = all.first() {
            vocabulary.put(key, Value::u32(*id));
        }
        ids.extend(all.first().map(|id| (name, *id)));
    }
    let around = around(&files.tokenizer);
    let text = |name| ids.get(name).map(|id| tokens.texts[*id as usize].as_str());
    let bos = files.adds_bos || around[0].is_some() && around[0].as_deref() == text("bos_token");
    let eos = around[1].is_some() && around[1].as_deref() == text("eos_token");
    for ((place, adds), around) in [("begin", bos), ("end", eos)].into_iter().zip(&around) {
        if let Some(token) = around.as_ref().filter(|_| !adds) {
            vocabulary.notes.push(format!(
                "texts {place} with {token}, which is neither bos nor eos token: llama.cpp leaves it out"
            ));
        }
    }
    vocabulary.put("add_bos_token", Value::Bool(bos));
    vocabulary.put("add_eos_token", Value::Bool(eos));
    Ok(())
}

/// The ids that `config.json` and `generation_config.json` give a setting, each once, without those
/// that the network has no row for.
fn of_settings(folder: &Path, config: &Config, setting: &str, rows: usize) -> Result<Vec<u32>> {
    let generation = folder.join("generation_config.json");
    let later = object(&generation)?.unwrap_or_default();
    let mut all = Vec::new();
    for (path, map) in [(&config.path, config.map()), (&generation, &later)] {
        let listed = listed(map, setting)
            .ok_or_else(|| Error::invalid(path, format!("`{setting}` is no token's id")))?;
        for id in listed {
            if (id as usize) < rows && !all.contains(&id) {
                all.push(id);
            }
        }
    }
    Ok(all)
}

/// The ids of a setting: one, a list, or none; the error is one that is no id.
fn listed(map: &Map<String, Json>, key: &str) -> Option<Vec<u32>> {
    let id = |value: &Json| value.as_u64().and_then(|id| u32::try_from(id).ok());
    match map.get(key) {
        None | Some(Json::Null) => Some(Vec::new()),
        // transformers' older files have -1 for none.
        Some(value) if value.as_i64().is_some_and(|id| id < 0) => Some(Vec::new()),
        Some(Json::Array(all)) => all.iter().map(id).collect(),
        Some(value) => id(value).map(|id| vec![id]),
    }
}

/// The special tokens that a post-processor puts before and after a text.
fn around(tokenizer: &Map<String, Json>) -> [Option<String>; 2] {
    let Some(processor) = tokenizer.get("post_processor") else {
        return [None, None];
    };
    let inner = processor["processors"].as_array();
    let all = inner.map_or(std::slice::from_ref(processor), Vec::as_slice);
    let template = all.iter().find(|one| one["type"] == "TemplateProcessing");
    let single = template.and_then(|template| template["single"].as_array());
    let special = |part: Option<&Json>| {
        let id = part?["SpecialToken"]["id"].as_str()?;
        Some(id.to_string())
    };
    match single {
        None => [None, None],
        Some(parts) => [special(parts.first()), special(parts.last())],
    }
}
