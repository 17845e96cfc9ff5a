//! Finds the chat templates of a checkpoint.

use crate::{Error, Result};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// The name of the template used by default.
const DEFAULT: &str = "default";

/// The name of the template for conversations with tools.
const TOOL_USE: &str = "tool_use";

/// The source of a template and its file.
pub(super) struct TemplateSource {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

/// The templates of a checkpoint or of a file.
pub(super) struct TemplateSources {
    /// The template used by default.
    pub(super) default: Option<TemplateSource>,
    /// The template for conversations with tools, if there is one.
    pub(super) tool_use: Option<TemplateSource>,
}

impl TemplateSources {
    /// The templates of a folder, in the order of precedence of transformers 5: separate files,
    /// then the tokenizer configuration, then the older `chat_template.json`.
    pub(super) fn in_folder(folder: &Path) -> Result<Option<Self>> {
        let additional = folder.join("additional_chat_templates");
        let additional = existing(additional.join(format!("{TOOL_USE}.jinja")));
        let tool_use = additional
            .map(|path| TemplateSource::read(&path))
            .transpose()?;
        let mut found = match existing(folder.join("chat_template.jinja")) {
            Some(path) => Some(Self::in_file(&path)?),
            None => Self::in_json(folder)?,
        };
        if tool_use.is_some() {
            let default = found.and_then(|found| found.default);
            found = Some(Self { default, tool_use });
        }
        Ok(found)
    }

    fn in_json(folder: &Path) -> Result<Option<Self>> {
        let path = folder.join("tokenizer_config.json");
        let config = object(&path)?.unwrap_or_default();
        match config.get("chat_template") {
            None | Some(Value::Null) => {
                let older = existing(folder.join("chat_template.json"));
                older.map(|path| Self::in_file(&path)).transpose()
            }
            Some(template) => Self::of_value(&path, template).map(Some),
        }
    }

    pub(super) fn in_file(path: &Path) -> Result<Self> {
        if path.extension().is_none_or(|extension| extension != "json") {
            return Ok(Self {
                default: Some(TemplateSource::read(path)?),
                tool_use: None,
            });
        }
        let config = object(path)?.unwrap_or_default();
        match config.get("chat_template") {
            Some(template) => Self::of_value(path, template),
            None => Err(Error::file(path, "has no `chat_template`")),
        }
    }

    /// A string, a list of named templates, or an object of them.
    fn of_value(path: &Path, template: &Value) -> Result<Self> {
        let named = |name: &str| match template {
            Value::Array(all) => {
                let one = all.iter().find(|one| one["name"] == name)?;
                one["template"].as_str()
            }
            Value::Object(all) => all.get(name)?.as_str(),
            _ => None,
        };
        let source = |text: &str| TemplateSource {
            path: path.into(),
            text: text.to_string(),
        };
        let default = template.as_str().or_else(|| named(DEFAULT)).map(source);
        let tool_use = named(TOOL_USE).map(source);
        match (&default, &tool_use) {
            (None, None) => Err(Error::file(
                path,
                "its `chat_template` is neither a string nor a list or an object with a template named \
                 \"default\"",
            )),
            _ => Ok(Self { default, tool_use }),
        }
    }
}

impl TemplateSource {
    fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|error| Error::io(path, error))?;
        Ok(Self {
            path: path.into(),
            text,
        })
    }
}

fn existing(path: PathBuf) -> Option<PathBuf> {
    path.exists().then_some(path)
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
