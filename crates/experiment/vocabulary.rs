//! What turns text into tokens of one checkpoint.

use anyhow::Result;
use rlhf_data::{AppendEos, Chat, Fields, Limits, Reader, Settings, Template};
use rlhf_lm::{EndToken, Tokenizer, inspect};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What turns text into tokens of one checkpoint.
pub struct Vocabulary {
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// V, the number of ids: those up to the last that has text.
    pub size: usize,
    /// The rows of the embedding, some of which may have no text.
    pub rows: usize,
    /// The tokens that end a response, the one that completions are trained to end with first.
    pub ends: Vec<u32>,
    /// Which completions that one is appended to.
    pub append: AppendEos,
    /// The token that begins a text, if there is one.
    pub bos: Option<u32>,
    /// The longest prompt and response together, tokens.
    pub context: usize,
    /// What ends a response and which file says so, in words.
    pub stops: String,
    /// What is worth knowing of how its files were read.
    pub notes: Vec<String>,
    /// How it writes conversations, if it does.
    pub template: Option<Arc<Template>>,
    /// The folder of the checkpoint.
    pub folder: PathBuf,
}

impl Vocabulary {
    /// The vocabulary of the checkpoint in `folder`, from its headers.
    pub fn load(folder: &Path) -> Result<Self> {
        let summary = inspect(folder)?;
        let mut vocabulary = Self {
            tokenizer: Tokenizer::load(folder, summary.vocab)?,
            size: summary.ids_with_text,
            rows: summary.vocab,
            ends: summary.ends.iter().map(|end| end.id).collect(),
            append: AppendEos::Always,
            bos: summary.bos,
            context: summary.context,
            stops: stops(&summary.ends),
            notes: summary.notes,
            template: Template::load(folder)?.map(Arc::new),
            folder: folder.into(),
        };
        let template = vocabulary.template.as_deref();
        if let Some(end) =
            template.and_then(|template| vocabulary.tokens().suffix_without_eos(template))
        {
            vocabulary.notes.push(format!(
                "the chat template ends an answer with {end:?}, in which no token ends a response: \
                 sampling goes on behind it; name its token as eos_token in tokenizer_config.json, or \
                 in eos_token_id of generation_config.json"
            ));
        }
        Ok(vocabulary)
    }

    /// The part of it that turns rows into tokens.
    pub fn tokens(&self) -> rlhf_data::Vocabulary {
        rlhf_data::Vocabulary {
            tokenizer: self.tokenizer.clone(),
            size: self.size,
            ends: self.ends.clone(),
            append: self.append,
            bos: self.bos,
        }
    }

    /// The text of the EOS, where it is a special token: it parts the documents of plain text.
    pub fn eos_text(&self) -> Option<String> {
        self.tokenizer.special(*self.ends.first()?)
    }

    /// How rows become tokens of this checkpoint, with the checkpoint's own chat template.
    pub fn settings(&self, limits: Limits) -> Settings {
        let mut settings = Settings::new(self.tokens(), limits);
        if let Some(template) = &self.template {
            settings.chat = Chat::Template(template.clone());
        }
        settings
    }

    /// A reader of rows in memory; completions end with the EOS.
    pub fn reader(&self, limits: Limits, fields: Fields) -> Reader {
        Reader::new(Settings {
            fields,
            ..self.settings(limits)
        })
    }
}

/// What ends a response, in words.
#[must_use]
pub fn stops(ends: &[EndToken]) -> String {
    let ends: Vec<String> = ends.iter().map(EndToken::words).collect();
    match ends.is_empty() {
        true => "no token ends a response: all have the greatest length".into(),
        false => ends.join(", "),
    }
}
