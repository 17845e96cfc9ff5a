//! Converts text to tokens.

use crate::shapes::{ParsedRow, Segment};
use crate::{Limits, Notes, Result, Row, Template};
use rlhf_lm::Tokenizer;
use rlhf_objective::{Finish, Prompt, Response};
use serde_json::{Map, json};
use std::path::Path;

/// The tokenizer and special tokens of one checkpoint.
///
/// A prompt and its completion are tokenized separately, because sampling starts after the prompt's
/// tokens; no space is inserted before a completion. A completion ends with exactly one
/// end-of-sequence token. Special tokens that the tokenizer puts before a text go before a prompt,
/// unless it already starts with them; the output of a chat template is left unchanged.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    /// The checkpoint's tokenizer.
    pub tokenizer: Tokenizer,
    /// V: greater ids are an error.
    pub size: usize,
    /// The end-of-sequence tokens. A completion ends after any of them; the first is appended to a
    /// completion that ends with none.
    pub ends: Vec<u32>,
    /// Which completions the EOS token is appended to.
    pub append: AppendEos,
    /// The token that replaces an empty prompt and starts a document, if the tokenizer itself puts
    /// nothing before a text.
    pub bos: Option<u32>,
}

/// Which completions without an end-of-sequence token get one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AppendEos {
    /// All.
    #[default]
    Always,
    /// Those given as text; token ids are left unchanged.
    ToText,
    /// None.
    Never,
}

/// The position of a text in a sequence.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Position {
    /// At the start.
    Start,
    /// After a prompt.
    AfterPrompt,
}

/// The tokens and the text of a segment.
pub(crate) struct Encoded {
    pub(crate) ids: Vec<u32>,
    pub(crate) text: String,
}

impl Vocabulary {
    /// Tokenizes a segment; `name` is the field it comes from.
    fn encode(
        &self,
        row: &Row,
        name: &str,
        segment: &Segment,
        position: Position,
    ) -> Result<Encoded> {
        let Some(text) = segment.text() else {
            let Segment::Ids(ids) = segment else {
                return Err(row.error("neither text nor ids"));
            };
            if let Some(id) = ids.iter().find(|id| **id as usize >= self.size) {
                let message = format!(
                    "token {id} in `{name}_ids` is not in the vocabulary: the largest id is {}",
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
            ids: self.tokenize(row, text, position)?,
            text: text.to_string(),
        })
    }

    fn tokenize(&self, row: &Row, text: &str, position: Position) -> Result<Vec<u32>> {
        let ids = match position {
            Position::Start => self.tokenizer.encode(text),
            Position::AfterPrompt => self.tokenizer.encode_continuing(text),
        };
        ids.map_err(|error| row.error(error.to_string()))
    }

    /// A prompt.
    pub(crate) fn prompt(
        &self,
        row: &Row,
        name: &str,
        segment: &Segment,
        notes: &mut Notes,
    ) -> Result<Encoded> {
        let mut encoded = self.encode(row, name, segment, Position::Start)?;
        let prefix = self.tokenizer.prefix();
        if matches!(segment, Segment::Text(_)) && !encoded.ids.starts_with(prefix) {
            encoded.ids.splice(0..0, prefix.iter().copied());
        }
        if encoded.ids.is_empty() {
            let message =
                "the prompt is empty and the checkpoint has no BOS token to put in its place";
            encoded.ids.extend(self.document_start());
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
        segment: &Segment,
        notes: &mut Notes,
    ) -> Result<Encoded> {
        let mut encoded = self.encode(row, name, segment, Position::AfterPrompt)?;
        if matches!(segment, Segment::Rendered(_)) {
            self.cut_after_eos(&mut encoded.ids);
            encoded.text = self.tokenizer.decode(&encoded.ids);
        }
        notes.empty_completions += usize::from(segment.is_blank());
        self.append_eos(segment, &mut encoded.ids);
        if encoded.ids.is_empty() {
            return Err(row.error(format!(
                "`{name}` has no tokens, and no EOS is appended to it"
            )));
        }
        Ok(encoded)
    }

    /// The tokens that a document starts with: the tokenizer's prefix, or else the BOS token.
    fn document_start(&self) -> &[u32] {
        match self.tokenizer.prefix() {
            [] => self.bos.as_slice(),
            prefix => prefix,
        }
    }

    /// A document with its start tokens and its EOS. A conversation starts as its template writes
    /// it, with or without a BOS token.
    pub(crate) fn document(&self, row: &Row, name: &str, segment: &Segment) -> Result<Vec<u32>> {
        let mut ids = self.encode(row, name, segment, Position::Start)?.ids;
        let rendered = matches!(segment, Segment::Rendered(_));
        if rendered {
            self.cut_after_eos(&mut ids);
        }
        self.append_eos(segment, &mut ids);
        if !rendered && !ids.starts_with(self.document_start()) {
            ids.splice(0..0, self.document_start().iter().copied());
        }
        if ids.len() < 2 {
            let message = "a document of one token has nothing to predict. Remove the row";
            return Err(row.error(message));
        }
        Ok(ids)
    }

    /// Removes white space after the last EOS: a template may write a line break there, which
    /// sampling never reaches.
    pub(crate) fn cut_after_eos(&self, ids: &mut Vec<u32>) {
        // With `AppendEos::Never` the text is kept as given.
        let cut = self.append != AppendEos::Never;
        let last = ids.iter().rposition(|id| cut && self.is_eos(*id));
        if let Some(last) = last
            && self.tokenizer.decode(&ids[last + 1..]).trim().is_empty()
        {
            ids.truncate(last + 1);
        }
    }

    fn is_eos(&self, id: u32) -> bool {
        self.ends.contains(&id)
    }

    /// Makes the sequence end with exactly one EOS: of several, the one that sampling would stop
    /// at.
    fn append_eos(&self, segment: &Segment, ids: &mut Vec<u32>) {
        match (self.append, segment) {
            (AppendEos::Never, _) | (AppendEos::ToText, Segment::Ids(_)) => return,
            _ => {}
        }
        let mut last = self.ends.first().copied();
        while let Some(id) = ids.pop_if(|id| self.ends.contains(id)) {
            last = Some(id);
        }
        ids.extend(last);
    }

    /// Why a response with these tokens ends.
    pub(crate) fn finish(&self, ids: &[u32]) -> Finish {
        if ids.last().is_some_and(|id| self.is_eos(*id)) {
            Finish::Eos
        } else {
            Finish::Length
        }
    }

    /// The text that a chat template writes after an answer, if there is any and it has no
    /// end-of-sequence token: sampling does not stop a policy that produces it. `None` also if the
    /// template rejects a question and its answer.
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
        let open = !end.trim().is_empty() && !ids.iter().any(|id| self.is_eos(*id));
        open.then(|| end.to_string())
    }

    /// Counts the answers that tokenize differently together with their prompt, both as one text
    /// and with a space between, which word tokenizers insert.
    pub(crate) fn note_boundary(
        &self,
        row: &Row,
        parsed: &ParsedRow,
        notes: &mut Notes,
    ) -> Result<()> {
        let Some(prompt) = parsed.prompt.as_ref().and_then(Segment::text) else {
            return Ok(());
        };
        // Without a tokenizer texts are numbers, which cannot be concatenated.
        if self.tokenizer.is_ids() {
            return Ok(());
        }
        let start = self.tokenize(row, prompt, Position::Start)?;
        for answer in parsed.answers.iter().filter_map(Segment::text) {
            let apart = [
                start.clone(),
                self.tokenize(row, answer, Position::AfterPrompt)?,
            ]
            .concat();
            let together = |text: String| -> Result<bool> {
                Ok(self.tokenize(row, &text, Position::Start)? == apart)
            };
            if !together(format!("{prompt}{answer}"))? && !together(format!("{prompt} {answer}"))? {
                notes.boundary_mismatches += 1;
                let place = || crate::error::place(&row.path, row.line);
                notes.boundary_place.get_or_insert_with(place);
            }
        }
        Ok(())
    }

    /// Keeps the last `keep` tokens of a prompt.
    pub(crate) fn truncate_prompt(&self, prompt: &mut Prompt, keep: usize, notes: &mut Notes) {
        if prompt.ids.len() > keep {
            prompt.ids.drain(..prompt.ids.len() - keep);
            prompt.text = self.tokenizer.decode(&prompt.ids);
            notes.cut_prompts += 1;
        }
    }

    /// A response of at most `most` tokens.
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
    /// Splits a document into chunks of the context length. A chunk reads `context` tokens and
    /// predicts as many; the prompt of a later chunk is the token before it, so that every token is
    /// predicted once.
    pub(crate) fn chunks<'a>(
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
