//! The files of a folder's tokenizer, read as JSON.

use crate::config::object;
use crate::{Error, Result};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// The tokens that have names, and their keys in GGUF and in `config.json`.
pub(super) const NAMED: [(&str, &str, &str); 4] = [
    ("bos_token", "bos_token_id", "bos_token_id"),
    ("eos_token", "eos_token_id", "eos_token_id"),
    ("unk_token", "unknown_token_id", "unk_token_id"),
    ("pad_token", "padding_token_id", "pad_token_id"),
];

/// What GPT-2's tokenizer class takes for the beginning, the end and unknown words where no file says.
const END_OF_TEXT: &str = "<|endoftext|>";

/// A folder's tokenizer.
#[derive(Debug)]
pub(super) struct Folder {
    /// The file with the vocabulary, for errors.
    pub(super) path: PathBuf,
    /// `tokenizer.json`, or the same out of `vocab.json` and `merges.txt`.
    pub(super) tokenizer: Map<String, Value>,
    /// `tokenizer_config.json`, and what the older `special_tokens_map.json` says besides.
    pub(super) config: Map<String, Value>,
    /// Whether a text begins with the bos token where the files do not say it by a post-processor.
    pub(super) adds_bos: bool,
}

impl Folder {
    /// Reads a folder; none where it has no tokenizer.
    pub(super) fn open(folder: &Path) -> Result<Option<Self>> {
        let mut config = object(&folder.join("tokenizer_config.json"))?.unwrap_or_default();
        if !config.contains_key("added_tokens_decoder") {
            let map = object(&folder.join("special_tokens_map.json"))?;
            config.extend(map.unwrap_or_default());
        }
        let path = folder.join("tokenizer.json");
        if let Some(tokenizer) = object(&path)? {
            return Ok(Some(Self {
                path,
                tokenizer,
                config,
                adds_bos: false,
            }));
        }
        let found = |names: [&str; 2]| {
            let mut paths = names.into_iter().map(|name| folder.join(name));
            paths.find(|path| path.exists())
        };
        let (Some(path), Some(merges)) = (
            found(["vocab.json", "encoder.json"]),
            found(["merges.txt", "vocab.bpe"]),
        ) else {
            return Ok(None);
        };
        let vocabulary = object(&path)?.unwrap_or_default();
        let text = std::fs::read_to_string(&merges).map_err(Error::io(&merges))?;
        let lines = text
            .lines()
            .filter(|line| !line.starts_with("#version") && !line.is_empty());
        let merges: Vec<&str> = lines.collect();
        let added = object(&folder.join("added_tokens.json"))?.unwrap_or_default();
        let added = added
            .into_iter()
            .map(|(text, id)| json!({"id": id, "content": text}));
        let adds_bos = config.get("add_bos_token") == Some(&true.into());
        for name in ["bos_token", "eos_token"] {
            if vocabulary.contains_key(END_OF_TEXT) {
                config.entry(name).or_insert(END_OF_TEXT.into());
            }
        }
        let tokenizer = json!({
            "added_tokens": added.collect::<Vec<_>>(),
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false},
            "model": {"type": "BPE", "vocab": vocabulary, "merges": merges},
        });
        let tokenizer = tokenizer.as_object().expect("an object").clone();
        Ok(Some(Self {
            path,
            tokenizer,
            config,
            adds_bos,
        }))
    }

    /// Says what is wrong with the tokenizer.
    pub(super) fn invalid(&self, message: impl std::fmt::Display) -> Error {
        Error::invalid(&self.path, message)
    }

    /// The text of a token that has a name.
    pub(super) fn named(&self, name: &str) -> Option<&str> {
        let value = self.config.get(name)?;
        value.as_str().or_else(|| value["content"].as_str())
    }

    /// Whether the files call this token special besides listing it.
    pub(super) fn is_special(&self, text: &str) -> bool {
        let lists = ["extra_special_tokens", "additional_special_tokens"];
        let listed = |list: &Value| {
            let content = |value: &Value| value.as_str() == Some(text) || value["content"] == text;
            list.as_array().is_some_and(|all| all.iter().any(content))
        };
        NAMED
            .iter()
            .any(|(name, ..)| self.named(name) == Some(text))
            || lists
                .iter()
                .any(|list| self.config.get(*list).is_some_and(listed))
    }

    /// Every added token: its id, its text, and whether it is special.
    pub(super) fn added(&self) -> Result<Vec<(u64, String, bool)>> {
        let wrong = || self.invalid("lists an added token without an id or a text: copy it again");
        let mut added = Vec::new();
        let listed = self.tokenizer.get("added_tokens").and_then(Value::as_array);
        for token in listed.into_iter().flatten() {
            let id = token["id"].as_u64().ok_or_else(wrong)?;
            let text = token["content"].as_str().ok_or_else(wrong)?;
            added.push((id, text.to_string(), token["special"] == true));
        }
        let decoder = self
            .config
            .get("added_tokens_decoder")
            .and_then(Value::as_object);
        for (id, token) in decoder.into_iter().flatten() {
            let id = id.parse().map_err(|_| wrong())?;
            let text = token["content"].as_str().ok_or_else(wrong)?;
            if !added.iter().any(|(other, ..)| *other == id) {
                added.push((id, text.to_string(), token["special"] == true));
            }
        }
        for (_, text, special) in &mut added {
            *special |= self.is_special(text);
        }
        Ok(added)
    }

    /// The chat templates by name: those of `chat_template.jinja` and its folder of others, or those of
    /// `tokenizer_config.json`, or that of the older `chat_template.json`.
    pub(super) fn templates(&self, folder: &Path) -> Result<Vec<(String, String)>> {
        let main = folder.join("chat_template.jinja");
        let default = |text: String| ("default".to_string(), text);
        if main.exists() {
            let mut found = vec![default(
                std::fs::read_to_string(&main).map_err(Error::io(&main))?,
            )];
            let others = folder.join("additional_chat_templates");
            let mut paths: Vec<PathBuf> = if others.exists() {
                std::fs::read_dir(&others)
                    .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
                    .map_err(Error::io(&others))?
            } else {
                Vec::new()
            };
            paths.sort();
            for path in paths {
                let name = path
                    .file_stem()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                found.push((
                    name,
                    std::fs::read_to_string(&path).map_err(Error::io(&path))?,
                ));
            }
            return Ok(found);
        }
        let older = object(&folder.join("chat_template.json"))?.unwrap_or_default();
        match self
            .config
            .get("chat_template")
            .or(older.get("chat_template"))
        {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::String(text)) => Ok(vec![default(text.clone())]),
            Some(Value::Array(all)) => {
                let pair = |entry: &Value| {
                    let [name, text] = [&entry["name"], &entry["template"]].map(Value::as_str);
                    Some((name?.to_string(), text?.to_string()))
                };
                all.iter().map(pair).collect::<Option<_>>().ok_or_else(|| {
                    self.invalid(
                        "`chat_template` of tokenizer_config.json lists no names and texts",
                    )
                })
            }
            Some(_) => Err(self.invalid("`chat_template` of tokenizer_config.json is no text")),
        }
    }
}
