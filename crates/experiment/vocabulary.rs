//! The tokenizer, special tokens and chat template of a checkpoint.

use anyhow::Result;
use rlhf_data::{AppendEos, Chat, Fields, Limits, Reader, Settings, Template};
use rlhf_lm::{EndToken, Tokenizer, inspect};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The tokenizer, special tokens and chat template of a checkpoint.
pub struct Vocabulary {
    /// The tokenizer.
    pub tokenizer: Tokenizer,
    /// V, the number of ids: those up to the last that has text.
    pub size: usize,
    /// The number of rows of the embedding, some of which may have no text.
    pub rows: usize,
    /// The ids of the tokens that end a response. The first is the EOS that training completions end with.
    pub ends: Vec<u32>,
    /// Which completions the EOS is appended to.
    pub append: AppendEos,
    /// The id of the BOS token, if there is one.
    pub bos: Option<u32>,
    /// The context length: the most tokens of a prompt and its response.
    pub context: usize,
    /// The tokens that end a response and the files that define them, in words.
    pub stops: String,
    /// Notes about how the files were read.
    pub notes: Vec<String>,
    /// The chat template, if there is one.
    pub template: Option<Arc<Template>>,
    /// The folder of the checkpoint.
    pub folder: PathBuf,
}

impl Vocabulary {
    /// Loads the tokenizer files and headers of the checkpoint in `folder`.
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
                "the chat template ends an assistant turn with {end:?}, which contains no EOS token, so \
                 sampling continues after it: name its token as eos_token in tokenizer_config.json, or in \
                 eos_token_id of generation_config.json"
            ));
        }
        Ok(vocabulary)
    }

    /// The tokenizer and special tokens, as the data crate takes them.
    pub fn tokens(&self) -> rlhf_data::Vocabulary {
        rlhf_data::Vocabulary {
            tokenizer: self.tokenizer.clone(),
            size: self.size,
            ends: self.ends.clone(),
            append: self.append,
            bos: self.bos,
        }
    }

    /// The text of the EOS if it is a special token. It can separate documents of plain text.
    pub fn eos_text(&self) -> Option<String> {
        self.tokenizer.special(*self.ends.first()?)
    }

    /// The settings of a reader of rows, with the checkpoint's chat template.
    pub fn settings(&self, limits: Limits) -> Settings {
        let mut settings = Settings::new(self.tokens(), limits);
        if let Some(template) = &self.template {
            settings.chat = Chat::Template(template.clone());
        }
        settings
    }

    /// A reader of rows; it appends the EOS to completions.
    pub fn reader(&self, limits: Limits, fields: Fields) -> Reader {
        Reader::new(Settings {
            fields,
            ..self.settings(limits)
        })
    }
}

/// The tokens that end a response, in words.
#[must_use]
pub fn stops(ends: &[EndToken]) -> String {
    let ends: Vec<String> = ends.iter().map(EndToken::words).collect();
    if ends.is_empty() {
        "no EOS token: every response has the greatest length".into()
    } else {
        ends.join(", ")
    }
}
