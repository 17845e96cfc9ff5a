//! One template, and rendering by it.

use super::functions::{self, Generation};
use super::load::{Found, Source};
use crate::{Error, Result, Row};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind};
use serde_json::{Map, Value};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The fields of a row that reach a template besides its messages, by the names that TRL has for them.
pub(crate) const TOOLS: &str = "tools";
pub(crate) const ARGUMENTS: &str = "chat_template_kwargs";

/// What a rendering may cost, in instructions of the engine: a conversation takes thousands.
const FUEL: u64 = 5_000_000;

/// A chat template in Jinja, as `transformers` keeps it, and the one for rows with tools if these have
/// their own.
#[derive(Debug)]
pub struct Template {
    environment: Environment<'static>,
    /// What a template may use besides the messages: `bos_token`, `eos_token`, …
    tokens: Map<String, Value>,
    default: Option<Kind>,
    tool_use: Option<Kind>,
}

/// One template of an environment.
#[derive(Debug)]
struct Kind {
    path: PathBuf,
    /// Its name in the environment, and that of the one which marks what an assistant says.
    plain: &'static str,
    marked: &'static str,
    /// Whether it says with `{% generation %}` what an assistant says.
    marks: bool,
}

impl Template {
    /// The template of a checkpoint folder, if it has one: `chat_template.jinja`, or `chat_template` of
    /// `tokenizer_config.json` or of the older `chat_template.json`, a string, or named ones as a list
    /// or an object. Of these `tool_use` is for rows with tools, which may also be
    /// `additional_chat_templates/tool_use.jinja`, and `default` for all others.
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
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        environment.set_syntax(syntax.map_err(|error| Error::file(folder, error.to_string()))?);
        environment.set_fuel(Some(FUEL));
        functions::add(&mut environment);
        let mut add = |source: Option<Source>, names| {
            let kind = source.map(|source| Kind::add(&mut environment, source, names));
            kind.transpose()
        };
        let default = add(found.default, ["chat", "marked chat"])?;
        let tool_use = add(
            found.tool_use,
            ["chat with tools", "marked chat with tools"],
        )?;
        let tokens = rlhf_lm::special_tokens(folder).map_err(|error| match error {
            rlhf_lm::Error::Invalid { path, message } => Error::file(&path, message),
            rlhf_lm::Error::Io { path, source } => Error::io(&path, source),
            other => Error::file(folder, other.to_string()),
        })?;
        let tokens = tokens.into_iter().map(|(name, text)| (name, text.into()));
        Ok(Self {
            environment,
            tokens: tokens.collect(),
            default,
            tool_use,
        })
    }

    /// The template for a row: that for tools where there is one and the row has tools, if only an empty
    /// list of them, as in transformers.
    fn of(&self, row: &Row) -> Result<&Kind> {
        let default = || {
            let message = "the checkpoint has a chat template for rows with tools alone: add one named \
                           \"default\", or name a file (data.chat_template)";
            self.default.as_ref().ok_or_else(|| row.error(message))
        };
        match &self.tool_use {
            Some(own) if !tools(row)?.is_null() => Ok(own),
            _ => default(),
        }
    }

    /// Whether the template says with `{% generation %}` which part of a text an assistant says; of two,
    /// whether both do.
    #[must_use]
    pub fn marks_answers(&self) -> bool {
        let mut kinds = self.default.iter().chain(&self.tool_use);
        kinds.all(|kind| kind.marks)
    }

    /// The text of a conversation, up to where the next answer starts if one is invited. The row's
    /// `tools` reach the template, and what is in its `chat_template_kwargs`.
    pub(crate) fn render(&self, row: &Row, messages: &[Value], invite: bool) -> Result<String> {
        self.render_by(|kind| kind.plain, row, messages, invite)
    }

    /// The text of a whole conversation, and the bytes of it that `{% generation %}` holds.
    pub(crate) fn render_marked(
        &self,
        row: &Row,
        messages: &[Value],
    ) -> Result<(String, Vec<Range<usize>>)> {
        let marked = self.render_by(|kind| kind.marked, row, messages, false)?;
        let [open, close] = functions::MARKS;
        let (mut text, mut spans) = (String::with_capacity(marked.len()), Vec::new());
        for piece in marked.split_inclusive([open, close]) {
            text.push_str(piece.trim_end_matches([open, close]));
            if piece.ends_with(open) {
                spans.push(text.len()..text.len());
            } else if let (true, Some(span)) = (piece.ends_with(close), spans.last_mut()) {
                span.end = text.len();
            }
        }
        match text == self.render(row, messages, false)? {
            true => Ok((text, spans)),
            false => Err(row.error(format!(
                "the chat template in {} works on what its {{% generation %}} blocks hold, so that \
                 these cannot be found: set data.loss_on to \"all\" or \"last\"",
                self.of(row)?.path.display()
            ))),
        }
    }

    fn render_by(
        &self,
        name: fn(&Kind) -> &'static str,
        row: &Row,
        messages: &[Value],
        invite: bool,
    ) -> Result<String> {
        let kind = self.of(row)?;
        let mut context = self.tokens.clone();
        // What transformers passes even where nobody gave it.
        context.insert("tools".into(), tools(row)?);
        context.insert("documents".into(), Value::Null);
        context.extend(arguments(row)?);
        context.insert("messages".into(), messages.into());
        context.insert("add_generation_prompt".into(), invite.into());
        let template = self.environment.get_template(name(kind));
        let rendered = template.and_then(|template| template.render(Serde(&context)));
        rendered.map_err(|error| match error.kind() {
            // Every other row would fail as well, and take as long.
            ErrorKind::OutOfFuel => Error::file(
                &kind.path,
                format!("the chat template does not end: stopped after {FUEL} instructions"),
            ),
            _ => {
                let name = kind.path.display();
                row.error(format!(
                    "the chat template in {name} refuses it: {}",
                    cause(&error)
                ))
            }
        })
    }
}

impl Kind {
    fn add(
        environment: &mut Environment<'static>,
        source: Source,
        [plain, marked]: [&'static str; 2],
    ) -> Result<Self> {
        let Source { path, text } = source;
        let (one, marks) = functions::replace_generation(&text, Generation::Plain);
        let (other, _) = functions::replace_generation(&text, Generation::Marked);
        for (name, text) in [(plain, one), (marked, other)] {
            let added = environment.add_template_owned(name, text);
            added.map_err(|error| {
                Error::file(&path, format!("the chat template is not Jinja: {error}"))
            })?;
        }
        Ok(Self {
            path,
            plain,
            marked,
            marks,
        })
    }
}

/// The descriptions of tools in a row, as a list or as the JSON of one; null where there are none.
fn tools(row: &Row) -> Result<Value> {
    let value = row.get(TOOLS).cloned().unwrap_or_default();
    let list = match &value {
        Value::String(text) => serde_json::from_str(text).unwrap_or_default(),
        _ => value.clone(),
    };
    match list {
        Value::Array(_) => Ok(list),
        Value::Null if value.is_null() => Ok(list),
        _ => Err(row.wrong(TOOLS, "a list of descriptions of tools", &value)),
    }
}

/// What a row passes to the template by name.
fn arguments(row: &Row) -> Result<Map<String, Value>> {
    let value = row.get(ARGUMENTS).cloned().unwrap_or_default();
    let object = match &value {
        Value::String(text) => serde_json::from_str(text).unwrap_or_default(),
        _ => value.clone(),
    };
    match object {
        Value::Object(arguments) => Ok(arguments),
        Value::Null if value.is_null() => Ok(Map::new()),
        _ => Err(row.wrong(ARGUMENTS, "an object of the template's variables", &value)),
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
