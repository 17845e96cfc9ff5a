//! Text to tokens: the choices that move numbers.

use crate::shapes::{Piece, Written};
use crate::{Limits, Notes, Result, Row, Template};
use rlhf_lm::Tokenizer;
use rlhf_objective::{Finish, Prompt, Response};
use serde_json::{Map, json};
use std::path::Path;

/// The tokens of one checkpoint.
///
/// A prompt and its completion are tokenized apart, because sampling starts where the prompt's tokens
/// end; a completion has no blank before it where texts have one. A completion ends with an end-of-sequence token exactly once. Special tokens that the tokenizer puts before a
/// text go before a prompt, unless it starts with them already; what a chat template wrote is left as
/// it is.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    /// The checkpoint's tokenizer.
    pub tokenizer: Tokenizer,
    /// V: greater ids are refused.
    pub size: usize,
    /// The end-of-sequence tokens: after each of them a completion is over. The first is appended to a
    /// completion that ends with none of them.
    pub ends: Vec<u32>,
    /// Which completions it is appended to.
    pub append: AppendEos,
    /// What an empty prompt becomes, and what a document starts with, where the tokenizer itself puts
    /// nothing before a text.
    pub bos: Option<u32>,
}

/// Which completions get an end-of-sequence token where they have none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AppendEos {
    /// All: what is trained on ends.
    #[default]
    Always,
    /// Those that are given as text: ids are as they should be.
    ToText,
    /// None.
    Never,
}

/// Where a text stands.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Place {
    /// Nothing is before it.
    First,
    /// Behind a prompt.
    Continuing,
}

/// A piece of a row as tokens, and its text.
pub(crate) struct Encoded {
    pub(crate) ids: Vec<u32>,
    pub(crate) text: String,
}

impl Vocabulary {
    /// The tokens of a piece; `name` is the field it comes from.
    fn encode(&self, row: &Row, name: &str, piece: &Piece, place: Place) -> Result<Encoded> {
        let Some(text) = piece.text() else {
            let Piece::Ids(ids) = piece else {
                return Err(row.error("neither text nor ids"));
            };
            if let Some(id) = ids.iter().find(|id| **id as usize >= self.size) {
                let message = format!(
                    "token {id} in `{name}_ids` is not in the vocabulary: ids end at {}",
                    self.size - 1
                );
                return Err(row.error(message));
            }
            return Ok(Encoded {
                text: self.tokenizer.decode(ids),
                ids: ids.clone(),
            });
        };
        Ok(Encoded {
            ids: self.raw(row, text, place)?,
            text: text.to_string(),
        })
    }

    fn raw(&self, row: &Row, text: &str, place: Place) -> Result<Vec<u32>> {
        let ids = match place {
            Place::First => self.tokenizer.encode(text),
            Place::Continuing => self.tokenizer.encode_continuing(text),
        };
        ids.map_err(|error| row.error(error.to_string()))
    }

    /// A prompt.
    pub(crate) fn prompt(
        &self,
        row: &Row,
        name: &str,
        piece: &Piece,
        notes: &mut Notes,
    ) -> Result<Encoded> {
        let mut encoded = self.encode(row, name, piece, Place::First)?;
        let prefix = self.tokenizer.prefix();
        if matches!(piece, Piece::Text(_)) && !encoded.ids.starts_with(prefix) {
            encoded.ids.splice(0..0, prefix.iter().copied());
        }
        if encoded.ids.is_empty() {
            let message = "the prompt is empty and the checkpoint has no bos token to start with";
            encoded.ids.extend(self.start());
            if encoded.ids.is_empty() {
                return Err(row.error(message));
            }
            notes.empty_prompts += 1;
        }
        Ok(encoded)
    }

    /// A completion, EOS included.
    pub(crate) fn completion(
        &self,
        row: &Row,
        name: &str,
        piece: &Piece,
        notes: &mut Notes,
    ) -> Result<Encoded> {
        let mut encoded = self.encode(row, name, piece, Place::Continuing)?;
        if matches!(piece, Piece::Rendered(_)) {
            self.cut_after_eos(&mut encoded.ids);
            encoded.text = self.tokenizer.decode(&encoded.ids);
        }
        notes.empty_completions += usize::from(piece.is_blank());
        self.end(piece, &mut encoded.ids);
        if encoded.ids.is_empty() {
            return Err(row.error(format!(
                "`{name}` has no tokens, and no EOS is appended to it"
            )));
        }
        Ok(encoded)
    }

    /// What a document starts with: what the tokenizer puts before a text, or else the bos token.
    fn start(&self) -> &[u32] {
        match self.tokenizer.prefix() {
            [] => self.bos.as_slice(),
            prefix => prefix,
        }
    }

    /// A document, from its start, where there is one, to its EOS. A conversation starts as its
    /// template writes it, with a bos token or without.
    pub(crate) fn document(&self, row: &Row, name: &str, piece: &Piece) -> Result<Vec<u32>> {
        let mut ids = self.encode(row, name, piece, Place::First)?.ids;
        let rendered = matches!(piece, Piece::Rendered(_));
        if rendered {
            self.cut_after_eos(&mut ids);
        }
        self.end(piece, &mut ids);
        if !rendered && !ids.starts_with(self.start()) {
            ids.splice(0..0, self.start().iter().copied());
        }
        if ids.len() < 2 {
            let message = "a document of one token has nothing to predict: leave it out";
            return Err(row.error(message));
        }
        Ok(ids)
    }

    /// A template writes a line break, or so, behind the EOS, which sampling never reaches.
    pub(crate) fn cut_after_eos(&self, ids: &mut Vec<u32>) {
        // What is to be read as it was given keeps it.
        let cut = self.append != AppendEos::Never;
        let last = ids.iter().rposition(|id| cut && self.is_end(*id));
        if let Some(last) = last
            && self.tokenizer.decode(&ids[last + 1..]).trim().is_empty()
        {
            ids.truncate(last + 1);
        }
    }

    fn is_end(&self, id: u32) -> bool {
        self.ends.contains(&id)
    }

    /// Makes an EOS the last token, once: of several, the one that sampling would stop at.
    fn end(&self, piece: &Piece, ids: &mut Vec<u32>) {
        match (self.append, piece) {
            (AppendEos::Never, _) | (AppendEos::ToText, Piece::Ids(_)) => return,
            _ => {}
        }
        let mut last = self.ends.first().copied();
        while let Some(id) = ids.pop_if(|id| self.ends.contains(id)) {
            last = Some(id);
        }
        ids.extend(last);
    }

    /// Why a response of these tokens ends.
    pub(crate) fn finish(&self, ids: &[u32]) -> Finish {
        match ids.last().is_some_and(|id| self.is_end(*id)) {
            true => Finish::Eos,
            false => Finish::Length,
        }
    }

    /// What a chat template writes behind an answer, where there is something and no end-of-sequence
    /// token in it: a policy that says it is not stopped. `None` also where the template refuses a
    /// question and its answer.
    #[must_use]
    pub fn suffix_without_eos(&self, template: &Template) -> Option<String> {
        const ANSWER: &str = "an answer";
        let row = Row {
            path: Path::new("").into(),
            line: 1,
            fields: Map::new(),
        };
        let said = |role: &str, text: &str| json!({"role": role, "content": text});
        let messages = [said("user", "a question"), said("assistant", ANSWER)];
        let text = template.render(&row, &messages, false).ok()?;
        let (_, end) = text.rsplit_once(ANSWER)?;
        let ids = self.tokenizer.encode_continuing(end).ok()?;
        let open = !end.trim().is_empty() && !ids.iter().any(|id| self.is_end(*id));
        open.then(|| end.to_string())
    }

    /// Counts the answers whose tokens are others when they are tokenized with their prompt: as one
    /// text, or with a blank between them, which a tokenizer of words puts there by itself.
    pub(crate) fn note_boundary(
        &self,
        row: &Row,
        written: &Written,
        notes: &mut Notes,
    ) -> Result<()> {
        let Some(prompt) = written.prompt.as_ref().and_then(Piece::text) else {
            return Ok(());
        };
        // Without a tokenizer texts are numbers, which may not be joined.
        if self.tokenizer.is_ids() {
            return Ok(());
        }
        let start = self.raw(row, prompt, Place::First)?;
        for answer in written.answers.iter().filter_map(Piece::text) {
            let apart = [start.clone(), self.raw(row, answer, Place::Continuing)?].concat();
            let together =
                |text: String| -> Result<bool> { Ok(self.raw(row, &text, Place::First)? == apart) };
            if !together(format!("{prompt}{answer}"))? && !together(format!("{prompt} {answer}"))? {
                notes.boundary_mismatches += 1;
                let place = || crate::error::place(&row.path, row.line);
                notes.boundary_place.get_or_insert_with(place);
            }
        }
        Ok(())
    }

    /// The end of a prompt that fits.
    pub(crate) fn cut_prompt(&self, prompt: &mut Prompt, keep: usize, notes: &mut Notes) {
        if prompt.ids.len() > keep {
            prompt.ids.drain(..prompt.ids.len() - keep);
            prompt.text = self.tokenizer.decode(&prompt.ids);
            notes.cut_prompts += 1;
        }
    }

    /// The start of a completion that fits.
    pub(crate) fn response(&self, encoded: Encoded, most: usize, notes: &mut Notes) -> Response {
        let Encoded { mut ids, mut text } = encoded;
        if ids.len() > most {
            ids.truncate(most);
            text = self.tokenizer.decode(&ids);
            notes.cut_completions += 1;
        }
        let finish = self.finish(&ids);
        Response {
            prompt: 0,
            ids,
            text,
            finish,
        }
    }
}

/// A prompt with the fields of its row.
pub(crate) fn prompt_of(row: &Row, encoded: Encoded) -> Prompt {
    Prompt {
        ids: encoded.ids,
        text: encoded.text,
        fields: row.fields.clone(),
    }
}

impl Limits {
    /// A document cut into pieces of the context. A piece reads `context` tokens and predicts as many;
    /// a later one has the token before it as its prompt, so that every token is predicted once.
    pub(crate) fn pieces<'a>(
        &self,
        ids: &'a [u32],
    ) -> impl Iterator<Item = (u32, &'a [u32])> + use<'a> {
        let context = self.context;
        (0..ids.len() - 1).step_by(context).map(move |start| {
            let end = start.saturating_add(context).min(ids.len() - 1);
            (ids[start], &ids[start + 1..=end])
        })
    }
}
