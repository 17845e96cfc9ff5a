//! What stands beside a tokenizer's vocabulary and decides tokens too: `tokenizer_config.json`,
//! `special_tokens_map.json` and `added_tokens.json`, as transformers reads them.

use crate::{Error, Result};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tokenizers::AddedToken;

pub(crate) const FILE: &str = "tokenizer_config.json";

/// What GPT-2 ends texts with, and what its tokenizer class takes for bos, eos and unk where no file
/// names them.
pub(crate) const END_OF_TEXT: &str = "<|endoftext|>";

/// The tokens that have a name, in the order in which transformers numbers new ones.
const NAMED: [&str; 7] = [
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
];

/// Those that GPT-2's class has by default.
const BY_DEFAULT: [&str; 3] = ["bos_token", "eos_token", "unk_token"];

/// Lists of further special tokens: the name of transformers 5, and the one before it.
const LISTS: [&str; 2] = ["extra_special_tokens", "additional_special_tokens"];

/// The settings of a tokenizer beside its vocabulary.
#[derive(Debug, Clone, Default)]
pub(crate) struct TokenizerConfig {
    /// The file, for messages.
    pub(crate) path: PathBuf,
    /// Which of transformers' classes it is for, if it says so.
    pub(crate) class: Option<String>,
    /// Whether a text is read as if it began with a blank.
    pub(crate) prefix_space: Option<bool>,
    /// Whether a text starts with the bos token.
    pub(crate) add_bos: Option<bool>,
    /// Whether special tokens that stand in a text are read as ordinary characters.
    pub(crate) split_special: bool,
    /// Tokens with the id that the file gives them, by id.
    pub(crate) added: Vec<(u32, AddedToken)>,
    /// The tokens that have a name, in order; `None` where a file says that there is none.
    named: Vec<(String, Option<AddedToken>)>,
    /// Further special tokens.
    pub(crate) further: Vec<AddedToken>,
}

impl TokenizerConfig {
    /// Reads the files of a folder; all may be absent.
    ///
    /// # Errors
    /// If one is malformed; the message names the file and the key.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let mut keys = object(&path)?.unwrap_or_default();
        let file = Keys(&path);
        let mut config = Self {
            class: file.text(&keys, "tokenizer_class")?,
            prefix_space: file.flag(&keys, "add_prefix_space")?,
            add_bos: file.flag(&keys, "add_bos_token")?,
            split_special: file.flag(&keys, "split_special_tokens")?.unwrap_or(false),
            ..Self::default()
        };
        // The two other files are older; transformers reads them where this key is missing, and then
        // the map of special tokens holds over the configuration.
        let mut added = match keys.remove("added_tokens_decoder") {
            Some(added) => file.by_id(&added)?,
            None => {
                let map = folder.join("special_tokens_map.json");
                for (key, value) in object(&map)?.unwrap_or_default() {
                    Keys(&map).check(&key, &value)?;
                    keys.insert(key, value);
                }
                by_text(&folder.join("added_tokens.json"))?
            }
        };
        config.name(&file, &keys)?;
        for (_, token) in &mut added {
            token.special |= config.is_named(&token.content);
        }
        config.added = added;
        config.path = path;
        Ok(config)
    }

    /// Takes the named tokens and the lists of further ones.
    fn name(&mut self, file: &Keys<'_>, keys: &Map<String, Value>) -> Result<()> {
        let others = keys
            .keys()
            .map(String::as_str)
            .filter(|key| key.ends_with("_token") && !NAMED.contains(key))
            .filter(|key| keys[*key].is_string() || keys[*key].is_object());
        for key in NAMED.into_iter().chain(others) {
            if let Some(value) = keys.get(key) {
                let token = file.token(key, value)?;
                self.named.push((key.into(), token));
            }
        }
        // As transformers 5: a list by the new name holds alone.
        let listed = matches!(keys.get(LISTS[0]), Some(Value::Array(values)) if !values.is_empty());
        for key in LISTS.into_iter().take(if listed { 1 } else { 2 }) {
            let values: Vec<&Value> = match keys.get(key) {
                None | Some(Value::Null) => continue,
                Some(Value::Array(values)) => values.iter().collect(),
                Some(Value::Object(values)) => values.values().collect(),
                Some(_) => return Err(file.wrong(key, "a list of tokens")),
            };
            for value in values {
                self.further.extend(file.token(key, value)?);
            }
        }
        Ok(())
    }

    fn is_named(&self, text: &str) -> bool {
        self.special().any(|token| token.content == text)
    }

    /// The special tokens that a file names, in the order in which transformers numbers new ones.
    pub(crate) fn special(&self) -> impl Iterator<Item = &AddedToken> {
        let named = self.named.iter().filter_map(|(_, token)| token.as_ref());
        named.chain(&self.further)
    }

    /// A token by its name, such as `eos_token`, if a file names it.
    pub(crate) fn token(&self, name: &str) -> Option<&str> {
        let (_, token) = self.named.iter().find(|(key, _)| key == name)?;
        token.as_ref().map(|token| token.content.as_str())
    }

    /// The names that no file mentions, where GPT-2's class has tokens for them.
    pub(crate) fn by_default(&self) -> impl Iterator<Item = &'static str> {
        let absent = |name: &&str| !self.named.iter().any(|(key, _)| key == name);
        let gpt2 = self.is_gpt2();
        BY_DEFAULT.into_iter().filter(absent).filter(move |_| gpt2)
    }

    /// Whether it is for GPT-2's tokenizer class, which is that of a GPT-2 network where no file says
    /// otherwise.
    pub(crate) fn is_gpt2(&self) -> bool {
        let class = self.class.as_deref().unwrap_or("GPT2Tokenizer");
        matches!(class, "GPT2Tokenizer" | "GPT2TokenizerFast")
    }
}

/// The texts of the special tokens of a checkpoint folder by their names, such as `bos_token`, as a
/// chat template may use them.
///
/// # Errors
/// If a file is malformed; the message names the file and the key.
pub fn special_tokens(folder: &Path) -> Result<BTreeMap<String, String>> {
    let config = TokenizerConfig::read(folder)?;
    let named = config.named.iter().filter_map(|(name, token)| {
        let token = token.as_ref()?;
        Some((name.clone(), token.content.clone()))
    });
    let by_default = config.by_default();
    let by_default = by_default.map(|name| (name.to_string(), END_OF_TEXT.to_string()));
    Ok(named.chain(by_default).collect())
}

/// The object in a JSON file, if there is such a file.
pub(crate) fn object(path: &Path) -> Result<Option<Map<String, Value>>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(path)(error)),
    };
    let wrong = |error| Error::invalid(path, format!("is no JSON object ({error}): copy it again"));
    serde_json::from_str(&text).map(Some).map_err(wrong)
}

/// `added_tokens.json`: each text with its id.
fn by_text(path: &Path) -> Result<Vec<(u32, AddedToken)>> {
    let mut tokens = Vec::new();
    for (text, id) in object(path)?.unwrap_or_default() {
        let wrong = || Error::invalid(path, format!("gives {text:?} no id, but {id}"));
        let id = id.as_u64().and_then(|id| u32::try_from(id).ok());
        tokens.push((id.ok_or_else(wrong)?, AddedToken::from(text, false)));
    }
    tokens.sort_by_key(|(id, _)| *id);
    Ok(tokens)
}

/// Typed access to the keys of a file, with messages that name them.
struct Keys<'a>(&'a Path);

impl Keys<'_> {
    fn wrong(&self, key: &str, expected: &str) -> Error {
        Error::invalid(self.0, format!("`{key}` must be {expected}"))
    }

    fn flag(&self, keys: &Map<String, Value>, key: &str) -> Result<Option<bool>> {
        match keys.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.wrong(key, "true or false")),
        }
    }

    fn text(&self, keys: &Map<String, Value>, key: &str) -> Result<Option<String>> {
        match keys.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(self.wrong(key, "a string")),
        }
    }

    /// Refuses what the map of special tokens may not hold.
    fn check(&self, key: &str, value: &Value) -> Result<()> {
        match NAMED.contains(&key) {
            true => self.token(key, value).map(|_| ()),
            false => Ok(()),
        }
    }

    /// A token as its text, or as an object of its text and how it is looked for.
    fn token(&self, key: &str, value: &Value) -> Result<Option<AddedToken>> {
        match value {
            Value::Null => Ok(None),
            Value::String(text) => Ok(Some(AddedToken::from(text.clone(), true))),
            Value::Object(parts) => {
                let mut token = self.parts(key, parts)?;
                token.special = true;
                Ok(Some(token))
            }
            _ => Err(self.wrong(key, "a token: a string, or an object with its `content`")),
        }
    }

    fn parts(&self, key: &str, parts: &Map<String, Value>) -> Result<AddedToken> {
        let Some(Value::String(text)) = parts.get("content") else {
            return Err(self.wrong(key, "a token with a `content` that is a string"));
        };
        let special = self.flag(parts, "special")?.unwrap_or(true);
        Ok(AddedToken {
            content: text.clone(),
            single_word: self.flag(parts, "single_word")?.unwrap_or(false),
            lstrip: self.flag(parts, "lstrip")?.unwrap_or(false),
            rstrip: self.flag(parts, "rstrip")?.unwrap_or(false),
            normalized: self.flag(parts, "normalized")?.unwrap_or(!special),
            special,
        })
    }

    /// `added_tokens_decoder`: each id with its token.
    fn by_id(&self, value: &Value) -> Result<Vec<(u32, AddedToken)>> {
        const KEY: &str = "added_tokens_decoder";
        let Value::Object(entries) = value else {
            return Err(self.wrong(KEY, "an object of ids and their tokens"));
        };
        let mut tokens = Vec::with_capacity(entries.len());
        for (id, parts) in entries {
            let (Ok(id), Value::Object(parts)) = (id.parse(), parts) else {
                return Err(self.wrong(&format!("{KEY}.{id}"), "the token of an id"));
            };
            tokens.push((id, self.parts(KEY, parts)?));
        }
        tokens.sort_by_key(|(id, _)| *id);
        Ok(tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn folder(files: &[(&str, Value)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, value) in files {
            std::fs::write(folder.path().join(name), value.to_string()).unwrap();
        }
        folder
    }

    #[test]
    fn the_older_files_hold_where_the_configuration_lists_no_tokens() {
        let config = json!({"eos_token": "<a>", "pad_token": null});
        let map = json!({"eos_token": {"content": "<b>"}});
        let old = folder(&[
            (FILE, config.clone()),
            ("special_tokens_map.json", map.clone()),
        ]);
        let read = TokenizerConfig::read(old.path()).unwrap();
        assert_eq!(read.token("eos_token"), Some("<b>"));
        assert_eq!(
            read.by_default().collect::<Vec<_>>(),
            ["bos_token", "unk_token"]
        );
        let mut config = config;
        config["added_tokens_decoder"] = json!({"9": {"content": "<a>", "special": false}});
        let new = folder(&[(FILE, config), ("special_tokens_map.json", map)]);
        let read = TokenizerConfig::read(new.path()).unwrap();
        assert_eq!(read.token("eos_token"), Some("<a>"));
        assert!(read.added[0].1.special, "it has a name");
    }

    #[test]
    fn what_is_malformed_is_named() {
        for (config, key) in [
            (json!({"add_prefix_space": "yes"}), "add_prefix_space"),
            (json!({"eos_token": 3}), "eos_token"),
            (json!({"eos_token": {"lstrip": true}}), "eos_token"),
            (
                json!({"additional_special_tokens": "<x>"}),
                "additional_special_tokens",
            ),
            (
                json!({"added_tokens_decoder": {"x": {"content": "<x>"}}}),
                "added_tokens_decoder.x",
            ),
            (json!([1]), "no JSON object"),
        ] {
            let folder = folder(&[(FILE, config)]);
            let error = TokenizerConfig::read(folder.path())
                .unwrap_err()
                .to_string();
            assert!(error.contains(FILE) && error.contains(key), "{error}");
        }
        let folder = folder(&[("added_tokens.json", json!({"<x>": "1"}))]);
        let error = TokenizerConfig::read(folder.path())
            .unwrap_err()
            .to_string();
        assert!(error.contains("added_tokens.json"), "{error}");
    }
}
