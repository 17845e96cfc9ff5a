//! Chat templates and how they are rendered.

use super::functions::{self, Generation};
use super::load::{TemplateSource, TemplateSources};
use crate::{Error, Result, Row};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, ErrorKind};
use serde_json::{Map, Value};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The fields of a row that a template receives besides the messages, named as in TRL.
pub(crate) const TOOLS: &str = "tools";
pub(crate) const ARGUMENTS: &str = "chat_template_kwargs";

/// The maximum cost of rendering, in template-engine instructions. A conversation takes thousands.
const FUEL: u64 = 5_000_000;

/// A chat template in Jinja, as in `transformers`, and the separate one for rows with tools, if
/// there is one.
#[derive(Debug)]
pub struct Template {
    environment: Environment<'static>,
    /// The variables of a template besides the messages: `bos_token`, `eos_token`, …
    tokens: Map<String, Value>,
    default: Option<NamedTemplate>,
    tool_use: Option<NamedTemplate>,
}

/// One template of the environment.
#[derive(Debug)]
struct NamedTemplate {
    path: PathBuf,
    /// The names in the environment of the plain template and of the one that marks the assistant's
    /// text.
    plain: &'static str,
    marked: &'static str,
    /// Whether it has `{% generation %}` blocks.
    has_generation: bool,
}

impl Template {
    /// The template of a checkpoint folder, if it has one: `chat_template.jinja`, or
    /// `chat_template` of `tokenizer_config.json` or of the older `chat_template.json`. It is a
    /// string, or named templates as a list or an object. Of these `tool_use` is for rows with
    /// tools (also `additional_chat_templates/tool_use.jinja`), and `default` for all others.
    ///
    /// # Errors
    /// If a file cannot be read, or the template is not Jinja.
    pub fn load(folder: &Path) -> Result<Option<Self>> {
        match TemplateSources::in_folder(folder)? {
            None => Ok(None),
            Some(found) => Self::new(found, folder).map(Some),
        }
    }

    /// The template in a separate file, `.jinja` or `.json`, for the checkpoint in `folder`.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_file(path: &Path, folder: &Path) -> Result<Self> {
        Self::new(TemplateSources::in_file(path)?, folder)
    }

    fn new(found: TemplateSources, folder: &Path) -> Result<Self> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        environment.set_syntax(syntax.map_err(|error| Error::file(folder, error.to_string()))?);
        environment.set_fuel(Some(FUEL));
        functions::add(&mut environment);
        let mut add = |source: Option<TemplateSource>, names| {
            let kind = source.map(|source| NamedTemplate::add(&mut environment, source, names));
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

    /// The template for a row: the one for tools if there is one and the row has a list of tools,
    /// even an empty one, as in transformers.
    fn of(&self, row: &Row) -> Result<&NamedTemplate> {
        let default = || {
            let message = "the checkpoint has a chat template for rows with tools only: add one \
                           named \"default\", or name a file (data.chat_template)";
            self.default.as_ref().ok_or_else(|| row.error(message))
        };
        match &self.tool_use {
            Some(own) if !tools(row)?.is_null() => Ok(own),
            _ => default(),
        }
    }

    /// Whether the template marks the assistant's text with `{% generation %}`; of two templates,
    /// whether both do.
    #[must_use]
    pub fn has_generation_blocks(&self) -> bool {
        let mut kinds = self.default.iter().chain(&self.tool_use);
        kinds.all(|kind| kind.has_generation)
    }

    /// The text of a conversation, up to the start of the next answer if `add_generation_prompt`.
    /// The template receives the row's `tools` and the entries of its `chat_template_kwargs`.
    pub(crate) fn render(
        &self,
        row: &Row,
        messages: &[Value],
        add_generation_prompt: bool,
    ) -> Result<String> {
        self.render_named(|kind| kind.plain, row, messages, add_generation_prompt)
    }

    /// The text of a whole conversation, and the byte ranges of its `{% generation %}` blocks.
    pub(crate) fn render_with_spans(
        &self,
        row: &Row,
        messages: &[Value],
    ) -> Result<(String, Vec<Range<usize>>)> {
        let marked = self.render_named(|kind| kind.marked, row, messages, false)?;
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
        if text == self.render(row, messages, false)? {
            Ok((text, spans))
        } else {
            Err(row.error(format!(
                "the chat template in {} changes the content of its {{% generation %}} blocks, so \
                 that they cannot be located: set data.loss_on to \"all\" or \"last\"",
                self.of(row)?.path.display()
            )))
        }
    }

    fn render_named(
        &self,
        name: fn(&NamedTemplate) -> &'static str,
        row: &Row,
        messages: &[Value],
        add_generation_prompt: bool,
    ) -> Result<String> {
        let kind = self.of(row)?;
        let mut context = self.tokens.clone();
        // Variables that transformers always passes.
        context.insert("tools".into(), tools(row)?);
        context.insert("documents".into(), Value::Null);
        context.extend(arguments(row)?);
        context.insert("messages".into(), messages.into());
        context.insert("add_generation_prompt".into(), add_generation_prompt.into());
        let template = self.environment.get_template(name(kind));
        let rendered = template.and_then(|template| template.render(Serde(&context)));
        rendered.map_err(|error| match error.kind() {
            // Not a row error: every other row would fail too, after the same time.
            ErrorKind::OutOfFuel => Error::file(
                &kind.path,
                format!("the chat template does not end: stopped after {FUEL} instructions"),
            ),
            _ => {
                let name = kind.path.display();
                row.error(format!(
                    "the chat template in {name} rejects the row: {}",
                    raised_message(&error)
                ))
            }
        })
    }
}

impl NamedTemplate {
    fn add(
        environment: &mut Environment<'static>,
        source: TemplateSource,
        [plain, marked]: [&'static str; 2],
    ) -> Result<Self> {
        let TemplateSource { path, text } = source;
        let (one, has_generation) = functions::replace_generation(&text, Generation::Plain);
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
            has_generation,
        })
    }
}

/// The tool descriptions of a row, as a list or as the JSON of one; null if there are none.
fn tools(row: &Row) -> Result<Value> {
    let value = row.get(TOOLS).cloned().unwrap_or_default();
    let list = match &value {
        Value::String(text) => serde_json::from_str(text).unwrap_or_default(),
        _ => value.clone(),
    };
    match list {
        Value::Array(_) => Ok(list),
        Value::Null if value.is_null() => Ok(list),
        _ => Err(row.wrong_type(TOOLS, "a list of tool descriptions", &value)),
    }
}

/// The variables that a row passes to the template.
fn arguments(row: &Row) -> Result<Map<String, Value>> {
    let value = row.get(ARGUMENTS).cloned().unwrap_or_default();
    let object = match &value {
        Value::String(text) => serde_json::from_str(text).unwrap_or_default(),
        _ => value.clone(),
    };
    match object {
        Value::Object(arguments) => Ok(arguments),
        Value::Null if value.is_null() => Ok(Map::new()),
        _ => Err(row.wrong_type(ARGUMENTS, "an object of template variables", &value)),
    }
}

/// The message that a template raises, without the engine's words around it.
fn raised_message(error: &minijinja::Error) -> String {
    let line = error
        .line()
        .map_or_else(String::new, |line| format!(" (line {line})"));
    match error.detail() {
        Some(detail) => format!("{detail}{line}"),
        None => format!("{error}"),
    }
}
