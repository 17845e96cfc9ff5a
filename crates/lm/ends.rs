//! Which tokens end a response, and which file says so.

use crate::tokenizer_config::{FILE, object};
use crate::{Error, Gpt2Config, Result, Tokenizer};
use serde::Serialize;
use std::path::Path;

const GENERATION: &str = "generation_config.json";
const CONFIG: &str = "config.json";
const DEFAULT: &str = "the tokenizer";

/// An end-of-sequence token: sampling stops after it, and a response whose last token it is has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EndToken {
    /// Its id.
    pub id: u32,
    /// Its text in the vocabulary.
    pub text: String,
    /// The files that name it.
    pub from: Vec<&'static str>,
}

impl EndToken {
    /// Its id, its text and the files that name it, in words.
    #[must_use]
    pub fn words(&self) -> String {
        let (id, from) = (self.id, self.from.join(", "));
        match self.text == id.to_string() {
            true => format!("{id} ({from})"),
            false => format!("{id} {} ({from})", self.text),
        }
    }
}

/// A checkpoint's configuration with the end-of-sequence tokens of all its files, its tokenizer, and
/// where each of these tokens comes from.
///
/// All of them end a response. The first is what completions are trained to end with: the tokenizer's
/// `eos_token`, as in TRL; where the tokenizer's files name none, the first that config.json names, or
/// else generation_config.json.
pub(crate) fn settle(
    folder: &Path,
    config: Gpt2Config,
) -> Result<(Gpt2Config, Tokenizer, Vec<EndToken>)> {
    let tokenizer = Tokenizer::load(folder, config.vocab)?;
    let mut ends: Vec<EndToken> = Vec::new();
    let mut add = |id: u32, from| match ends.iter_mut().find(|end| end.id == id) {
        Some(end) => end.from.push(from),
        None => ends.push(EndToken {
            id,
            text: tokenizer.token(id),
            from: vec![from],
        }),
    };
    if let Some(id) = tokenizer.eos() {
        add(id, FILE);
    }
    for &id in &config.eos {
        add(id, CONFIG);
    }
    for id in generation(folder, config.vocab)? {
        add(id, GENERATION);
    }
    // A configuration that says nothing has GPT-2's.
    let end_of_text = tokenizer.end_of_text();
    let named = |id: &u32| ends.iter().any(|end| end.id == *id);
    if let Some(id) = end_of_text.filter(|id| !config.says_eos() && !named(id)) {
        ends.push(EndToken {
            id,
            text: tokenizer.token(id),
            from: vec![DEFAULT],
        });
    }
    let mut config = config.or_special(end_of_text);
    config.eos = ends.iter().map(|end| end.id).collect();
    Ok((config, tokenizer, ends))
}

/// The end-of-sequence tokens of `generation_config.json`, if there is one.
fn generation(folder: &Path, vocab: usize) -> Result<Vec<u32>> {
    let path = folder.join(GENERATION);
    let keys = object(&path)?.unwrap_or_default();
    crate::config::end_tokens(&keys, vocab).map_err(|message| Error::invalid(&path, message))
}

/// What is to be said where the tokenizer's files name another end than those of the network.
pub(crate) fn disagreement(ends: &[EndToken]) -> Option<String> {
    let (first, others) = ends.split_first()?;
    let others: Vec<_> = others.iter().filter(|end| end.from != [DEFAULT]).collect();
    if first.from != [FILE] || others.is_empty() {
        return None;
    }
    let others: Vec<String> = others.iter().map(|end| end.words()).collect();
    Some(format!(
        "{FILE} ends texts with {} {}, which the network's files do not name; they name {}. Each of \
         these ends a response, and completions are trained to end with the first: if one is wrong, \
         mend the file",
        first.id,
        first.text,
        others.join(", ")
    ))
}
