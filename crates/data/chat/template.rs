//! One template, and rendering by it.

use super::functions;
use super::load::Found;
use crate::{Error, Result, Row};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// What a rendering may cost, in instructions of the engine: a conversation takes thousands.
const FUEL: u64 = 5_000_000;

/// A chat template in Jinja, as `transformers` keeps it.
#[derive(Debug)]
pub struct Template {
    path: PathBuf,
    environment: Environment<'static>,
    /// What a template may use besides the messages: `bos_token`, `eos_token`, …
    tokens: Map<String, Value>,
}

impl Template {
    /// The template of a checkpoint folder, if it has one: `chat_template.jinja`,
    /// `chat_template.json`, or `chat_template` of `tokenizer_config.json`, a string or a list of
    /// named ones, of which `default` is taken.
    ///
    /// # Errors
    /// If a file cannot be read, or the template is not Jinja.
    pub fn load(folder: &Path) -> Result<Option<Self>> {
        match Found::in_folder(folder)? {
            None => Ok(None),
            Some(found) => Self::new(found, folder).map(Some),
        }
    }

    /// The template in a file of its own, `.jinja` or `.json`, for the checkpoint in `folder`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_file(path: &Path, folder: &Path) -> Result<Self> {
        Self::new(Found::in_file(path)?, folder)
    }

    fn new(found: Found, folder: &Path) -> Result<Self> {
        let Found { path, source } = found;
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        environment.set_syntax(syntax.map_err(|error| Error::file(&path, error.to_string()))?);
        environment.set_fuel(Some(FUEL));
        functions::add(&mut environment);
        environment
            .add_template_owned("chat", functions::without_generation_tags(&source))
            .map_err(|error| {
                Error::file(&path, format!("the chat template is not Jinja: {error}"))
            })?;
        Ok(Self {
            path,
            environment,
            tokens: super::load::special_tokens(folder)?,
        })
    }

    /// The text of a conversation, up to where the next answer starts if one is invited.
    pub(crate) fn render(&self, row: &Row, messages: &[Value], invite: bool) -> Result<String> {
        let mut context = self.tokens.clone();
        context.insert("messages".into(), messages.into());
        context.insert("add_generation_prompt".into(), invite.into());
        let template = self.environment.get_template("chat");
        let rendered = template.and_then(|template| template.render(Serde(&context)));
        rendered.map_err(|error| match error.kind() {
            // Every other row would fail as well, and take as long.
            ErrorKind::OutOfFuel => Error::file(
                &self.path,
                format!("the chat template does not end: stopped after {FUEL} instructions"),
            ),
            _ => {
                let name = self.path.display();
                row.error(format!(
                    "the chat template in {name} refuses it: {}",
                    cause(&error)
                ))
            }
        })
    }
}

/// What a template says when it raises, without the engine's words around it.
fn cause(error: &minijinja::Error) -> String {
    let line = error
        .line()
        .map_or_else(String::new, |line| format!(" (line {line})"));
    match error.detail() {
        Some(detail) => format!("{detail}{line}"),
        None => format!("{error}"),
    }
}
