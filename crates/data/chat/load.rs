//! Where a checkpoint keeps its chat template and the names of its special tokens.

use crate::{Error, Result};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// The source of a template and the file it is in.
pub(super) struct Found {
    pub(super) path: PathBuf,
    pub(super) source: String,
}

impl Found {
    pub(super) fn in_folder(folder: &Path) -> Result<Option<Self>> {
        for name in ["chat_template.jinja", "chat_template.json"] {
            let path = folder.join(name);
            if path.exists() {
                return Self::in_file(&path).map(Some);
            }
        }
        let path = folder.join("tokenizer_config.json");
        let Some(config) = object(&path)? else {
            return Ok(None);
        };
        match config.get("chat_template") {
            None | Some(Value::Null) => Ok(None),
            Some(template) => Self::of_value(path, template).map(Some),
        }
    }

    pub(super) fn in_file(path: &Path) -> Result<Self> {
        if path.extension().is_none_or(|extension| extension != "json") {
            let source = std::fs::read_to_string(path).map_err(|error| Error::io(path, error))?;
            return Ok(Self {
                path: path.into(),
                source,
            });
        }
        let known = object(path)?.unwrap_or_default();
        match known.get("chat_template") {
            Some(template) => Self::of_value(path.into(), template),
            None => Err(Error::file(path, "has no `chat_template`")),
        }
    }

    /// A string, or a list of named templates.
    fn of_value(path: PathBuf, template: &Value) -> Result<Self> {
        let named = |name: &str| {
            let all = template.as_array()?;
            let one = all.iter().find(|one| one["name"] == name)?;
            one["template"].as_str()
        };
        match template.as_str().or_else(|| named("default")) {
            Some(source) => Ok(Self {
                source: source.to_string(),
                path,
            }),
            None => Err(Error::file(
                &path,
                "its `chat_template` is neither a string nor a list with one named \"default\"",
            )),
        }
    }
}

fn object(path: &Path) -> Result<Option<Map<String, Value>>> {
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(path).map_err(|error| Error::io(path, error))?;
    match serde_json::from_str(&text) {
        Ok(object) => Ok(Some(object)),
        Err(error) => Err(Error::file(path, format!("not a JSON object: {error}"))),
    }
}
