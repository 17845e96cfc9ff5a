//! `config.json` of a model folder, read by key.

use crate::{Error, Result};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

pub(crate) const FILE: &str = "config.json";

/// The settings of a model, and where errors say that they are from.
#[derive(Debug)]
pub(crate) struct Config {
    /// The file, for errors.
    pub(crate) path: PathBuf,
    map: Map<String, Value>,
}

impl Config {
    /// Reads a folder's `config.json`.
    pub(crate) fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(FILE);
        let map = object(&path)?
            .ok_or_else(|| Error::invalid(&path, "is missing: name a model's folder"))?;
        Ok(Self { path, map })
    }

    /// Settings that were made of the file at `path`.
    pub(crate) fn new(path: &Path, map: Map<String, Value>) -> Self {
        Self {
            path: path.into(),
            map,
        }
    }

    /// All settings.
    pub(crate) fn map(&self) -> &Map<String, Value> {
        &self.map
    }

    /// Says what is wrong with the file.
    pub(crate) fn invalid(&self, message: impl std::fmt::Display) -> Error {
        Error::invalid(&self.path, message)
    }

    /// A setting that is there and not null.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    fn wrong(&self, key: &str, value: &Value, expected: &str) -> Error {
        self.invalid(format!("`{key}` is {value}, not {expected}"))
    }

    /// A count.
    pub(crate) fn uint(&self, key: &str) -> Result<Option<u32>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        match number {
            Some(number) => Ok(Some(number)),
            None => Err(self.wrong(key, value, "a whole number")),
        }
    }

    /// A count that is at least 1.
    pub(crate) fn count(&self, key: &str) -> Result<u32> {
        match self.uint(key)? {
            Some(0) => Err(self.invalid(format!("`{key}` is 0"))),
            Some(count) => Ok(count),
            None => Err(self.invalid(format!("has no `{key}`, which its model needs"))),
        }
    }

    /// A number.
    pub(crate) fn float(&self, key: &str) -> Result<Option<f64>> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) => Ok(Some(number)),
                None => Err(self.wrong(key, value, "a number")),
            },
        }
    }

    /// True or false; false where it is not there.
    pub(crate) fn flag(&self, key: &str) -> Result<bool> {
        match self.get(key) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(value) => Err(self.wrong(key, value, "true or false")),
        }
    }

    /// A text.
    pub(crate) fn text(&self, key: &str) -> Result<Option<&str>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(value) => Err(self.wrong(key, value, "a text")),
        }
    }

    /// Refuses settings that change what the network computes and have no place in a GGUF file. Each
    /// stands beside the values that change nothing; it may be absent too.
    pub(crate) fn refuse_unless(&self, keys: &[(&str, &[Value])]) -> Result<()> {
        for (key, neutral) in keys {
            if let Some(value) = self.get(key).filter(|value| !neutral.contains(value)) {
                return Err(self.invalid(format!(
                    "`{key}` is {value}, which llama.cpp's {} cannot compute: this model cannot be \
                     exported",
                    self.map["model_type"].as_str().unwrap_or("models")
                )));
            }
        }
        Ok(())
    }
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
