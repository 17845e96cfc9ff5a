//! Rows to tokens.

use crate::{Limits, Result, Row};
use rlhf_lm::Tokenizer;
use rlhf_objective::{Finish, Pairs, Prompt, Response, Sequences};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The names of the fields of a row. Ids are read from the field of the same name with `_ids` at
/// its end, and win over text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fields {
    /// The prompt.
    pub prompt: String,
    /// More of the prompt, after a line break, where a row has it and it is not empty.
    pub input: String,
    /// What stands between the prompt and its completion; it counts as the prompt's end.
    pub separator: String,
    /// The better completion of a pair.
    pub chosen: String,
    /// The worse one.
    pub rejected: String,
    /// The completion of a demonstration.
    pub completion: String,
    /// A whole document.
    pub text: String,
    /// Whether a completion is desirable, where completions are judged one by one.
    pub label: String,
}

impl Default for Fields {
    fn default() -> Self {
        Self {
            prompt: "prompt".into(),
            input: "input".into(),
            separator: String::new(),
            chosen: "chosen".into(),
            rejected: "rejected".into(),
            completion: "completion".into(),
            text: "text".into(),
            label: "label".into(),
        }
    }
}

/// What was done to rows to make them usable: counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Notes {
    /// Prompts that lost their start.
    pub cut_prompts: usize,
    /// Completions that lost their end.
    pub cut_completions: usize,
    /// Pairs left out because chosen and rejected are the same.
    pub identical_pairs: usize,
    /// Empty prompts that became the beginning-of-sequence token.
    pub empty_prompts: usize,
}

impl Notes {
    /// One sentence for each count that is not zero.
    #[must_use]
    pub fn sentences(&self) -> Vec<String> {
        [
            (
                self.cut_prompts,
                "prompts are too long: only their end is kept",
            ),
            (
                self.cut_completions,
                "completions are too long: only their start is kept",
            ),
            (
                self.identical_pairs,
                "pairs left out: chosen and rejected are the same",
            ),
            (
                self.empty_prompts,
                "prompts are empty: they become the bos token",
            ),
        ]
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect()
    }
}

/// Turns rows into tokens of one checkpoint.
#[derive(Debug)]
pub struct Reader<'a> {
    /// The checkpoint's tokenizer.
    pub tokenizer: &'a Tokenizer,
    /// V: greater ids are refused.
    pub vocab: usize,
    /// Appended to each completion that does not end with it; `None` leaves completions as they
    /// are.
    pub eos: Option<u32>,
    /// What an empty prompt becomes, and what a document starts with.
    pub bos: Option<u32>,
    /// The greatest lengths.
    pub limits: Limits,
    /// The names of the fields.
    pub fields: Fields,
    /// What was done so far.
    pub notes: Notes,
}

impl Reader<'_> {
    /// The prompts of rows, with all their fields. A document of a plain text file is a prompt.
    ///
    /// # Errors
    /// If a row has no prompt, or it cannot be encoded.
    pub fn prompts(&mut self, rows: &[Row]) -> Result<Vec<Arc<Prompt>>> {
        let one = |row| {
            let mut prompt = self.prompt(row)?;
            let (keep, _) = self.limits.fit(prompt.ids.len(), 1);
            self.cut_prompt(&mut prompt, keep);
            Ok(Arc::new(prompt))
        };
        rows.iter().map(one).collect()
    }

    /// The pairs of rows with a prompt, a chosen and a rejected completion, leaving out those whose
    /// completions are the same tokens.
    ///
    /// # Errors
    /// If a row lacks one of them, or it cannot be encoded.
    pub fn pairs(&mut self, rows: &[Row]) -> Result<Pairs> {
        let names = [self.fields.chosen.clone(), self.fields.rejected.clone()];
        let (mut prompts, mut responses) = (Vec::new(), Vec::new());
        for row in rows {
            let completions = [
                self.completion(row, &names[0])?,
                self.completion(row, &names[1])?,
            ];
            if completions[0].ids == completions[1].ids {
                self.notes.identical_pairs += 1;
                continue;
            }
            let mut prompt = self.prompt(row)?;
            let longest = completions[0].ids.len().max(completions[1].ids.len());
            let (keep, most) = self.limits.fit(prompt.ids.len(), longest);
            self.cut_prompt(&mut prompt, keep);
            for completion in completions {
                let index = prompts.len();
                responses.push(Arc::new(self.cut_completion(completion, index, most)));
            }
            prompts.push(Arc::new(prompt));
        }
        Ok(Pairs::new(Sequences::from_shared(prompts, responses)?)?)
    }

    /// The demonstrations of rows, each a document (`text`) or a prompt with its completion. A
    /// document starts with the bos token as its prompt, or where there is none with its own first
    /// token, and is cut into pieces of the context; a later piece has the token before it as its
    /// prompt, so that every token is predicted once.
    ///
    /// # Errors
    /// If a row lacks them, or cannot be encoded.
    pub fn demonstrations(&mut self, rows: &[Row]) -> Result<Sequences> {
        let (mut prompts, mut responses) = (Vec::new(), Vec::new());
        for row in rows {
            if row.text(&self.fields.text)?.is_some() || row.ids(&self.ids_name())?.is_some() {
                self.document(row, &mut prompts, &mut responses)?;
            } else {
                self.example(row, &mut prompts, &mut responses)?;
            }
        }
        Ok(Sequences::from_shared(prompts, responses)?)
    }

    /// The prompt and the completion of each row, in order.
    ///
    /// # Errors
    /// If a row lacks one of them, or cannot be encoded.
    pub fn completions(&mut self, rows: &[Row]) -> Result<Sequences> {
        let (mut prompts, mut responses) = (Vec::new(), Vec::new());
        for row in rows {
            self.example(row, &mut prompts, &mut responses)?;
        }
        Ok(Sequences::from_shared(prompts, responses)?)
    }

    /// The prompt and the completion of each row, in order, and whether each is desirable.
    ///
    /// # Errors
    /// If a row lacks one of the three, or cannot be encoded.
    pub fn unpaired(&mut self, rows: &[Row]) -> Result<(Sequences, Vec<bool>)> {
        let labels = rows.iter().map(|row| row.label(&self.fields.label));
        let labels = labels.collect::<Result<_>>()?;
        Ok((self.completions(rows)?, labels))
    }

    fn ids_name(&self) -> String {
        format!("{}_ids", self.fields.text)
    }

    fn example(
        &mut self,
        row: &Row,
        prompts: &mut Vec<Arc<Prompt>>,
        responses: &mut Vec<Arc<Response>>,
    ) -> Result<()> {
        let completion = self.completion(row, &self.fields.completion.clone())?;
        let mut prompt = self.prompt(row)?;
        let (keep, most) = self.limits.fit(prompt.ids.len(), completion.ids.len());
        self.cut_prompt(&mut prompt, keep);
        responses.push(Arc::new(self.cut_completion(
            completion,
            prompts.len(),
            most,
        )));
        prompts.push(Arc::new(prompt));
        Ok(())
    }

    fn document(
        &mut self,
        row: &Row,
        prompts: &mut Vec<Arc<Prompt>>,
        responses: &mut Vec<Arc<Response>>,
    ) -> Result<()> {
        let (mut ids, _) = self.tokens(row, &self.fields.text.clone(), "")?;
        self.end(&mut ids);
        if let Some(bos) = self.bos
            && ids.first() != Some(&bos)
        {
            ids.insert(0, bos);
        }
        if ids.len() < 2 {
            let message = "a document of one token has nothing to predict: leave it out";
            return Err(row.error(message));
        }
        // A piece reads `context` tokens and predicts as many; pieces overlap in one token.
        for start in (0..ids.len() - 1).step_by(self.limits.context) {
            let end = (start + self.limits.context).min(ids.len() - 1);
            let piece = ids[start + 1..=end].to_vec();
            let finish = self.finish(&piece);
            responses.push(Arc::new(Response::new(prompts.len(), piece, finish)));
            prompts.push(Arc::new(Prompt::from_ids(vec![ids[start]])));
        }
        Ok(())
    }

    /// The tokens and the text of a field, or of its `_ids` twin.
    fn tokens(&self, row: &Row, name: &str, suffix: &str) -> Result<(Vec<u32>, String)> {
        if let Some(ids) = row.ids(&format!("{name}_ids"))? {
            if let Some(id) = ids.iter().find(|id| **id as usize >= self.vocab) {
                let vocab = self.vocab;
                let message = format!(
                    "token {id} in `{name}_ids` is not in the vocabulary: ids end at {}",
                    vocab - 1
                );
                return Err(row.error(message));
            }
            let text = self.tokenizer.decode(&ids);
            return Ok((ids, text));
        }
        let Some(text) = row.text(name)? else {
            let mut message = format!("no field `{name}` and no field `{name}_ids`");
            let fields: Vec<_> = row.fields.keys().map(|key| format!("`{key}`")).collect();
            message += &format!(" in this row, which has {}", fields.join(", "));
            return Err(row.error(message));
        };
        let text = format!("{text}{suffix}");
        let ids = self
            .tokenizer
            .encode(&text)
            .map_err(|error| row.error(error.to_string()))?;
        Ok((ids, text))
    }

    fn prompt(&mut self, row: &Row) -> Result<Prompt> {
        let name = &self.fields.prompt;
        let plain = row
            .path
            .extension()
            .is_some_and(|extension| extension == "txt");
        let name = if plain { "text" } else { name.as_str() };
        let mut suffix = match row.text(&self.fields.input) {
            Ok(Some(input)) if !input.is_empty() => format!("\n{input}"),
            _ => String::new(),
        };
        suffix += &self.fields.separator;
        let (mut ids, text) = self.tokens(row, name, &suffix)?;
        if ids.is_empty() {
            let message = "the prompt is empty and the checkpoint has no bos token to start with";
            ids.push(self.bos.ok_or_else(|| row.error(message))?);
            self.notes.empty_prompts += 1;
        }
        Ok(Prompt {
            ids,
            text,
            fields: row.fields.clone(),
        })
    }

    fn completion(&self, row: &Row, name: &str) -> Result<Response> {
        let (mut ids, text) = self.tokens(row, name, "")?;
        self.end(&mut ids);
        if ids.is_empty() {
            return Err(row.error(format!(
                "`{name}` has no tokens, and there is no EOS to append"
            )));
        }
        let finish = self.finish(&ids);
        Ok(Response {
            prompt: 0,
            ids,
            text,
            finish,
        })
    }

    fn end(&self, ids: &mut Vec<u32>) {
        if let Some(eos) = self.eos
            && ids.last() != Some(&eos)
        {
            ids.push(eos);
        }
    }

    fn finish(&self, ids: &[u32]) -> Finish {
        if self.eos.is_some() && ids.last().copied() == self.eos {
            Finish::Eos
        } else {
            Finish::Length
        }
    }

    fn cut_prompt(&mut self, prompt: &mut Prompt, keep: usize) {
        if prompt.ids.len() > keep {
            prompt.ids.drain(..prompt.ids.len() - keep);
            prompt.text = self.tokenizer.decode(&prompt.ids);
            self.notes.cut_prompts += 1;
        }
    }

    fn cut_completion(&mut self, mut response: Response, prompt: usize, most: usize) -> Response {
        response.prompt = prompt;
        if response.ids.len() > most {
            response.ids.truncate(most);
            response.text = self.tokenizer.decode(&response.ids);
            response.finish = self.finish(&response.ids);
            self.notes.cut_completions += 1;
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Documents, rows};

    fn with<T>(
        content: &str,
        (eos, bos): (Option<u32>, Option<u32>),
        context: usize,
        read: impl FnOnce(&mut Reader<'_>, &[Row]) -> Result<T>,
    ) -> (Result<T>, Notes) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.jsonl");
        std::fs::write(&path, content).unwrap();
        let tokenizer = Tokenizer::load(folder.path(), 10).unwrap();
        let mut reader = Reader {
            tokenizer: &tokenizer,
            vocab: 10,
            eos,
            bos,
            limits: Limits::context(context),
            fields: Fields::default(),
            notes: Notes::default(),
        };
        let rows = rows(&path, Documents::Lines).unwrap();
        let result = read(&mut reader, &rows);
        (result, reader.notes)
    }

    const NONE: (Option<u32>, Option<u32>) = (None, None);
    const BOTH: (Option<u32>, Option<u32>) = (Some(9), Some(8));

    #[test]
    fn prompts_keep_their_fields_and_their_end() {
        let content = "{\"prompt_ids\": [1, 2, 3, 4], \"answer\": 5}\n{\"prompt_ids\": []}\n";
        let (prompts, notes) = with(content, BOTH, 3, |reader, rows| reader.prompts(rows));
        let prompts = prompts.unwrap();
        assert_eq!(prompts[0].ids, [2, 3, 4]);
        assert_eq!(prompts[0].fields["answer"], 5);
        assert_eq!(prompts[1].ids, [8]);
        assert_eq!((notes.cut_prompts, notes.empty_prompts), (1, 1));
        assert_eq!(notes.sentences().len(), 2);
        let (error, _) = with(content, NONE, 9, |reader, rows| reader.prompts(rows));
        let error = error.unwrap_err().to_string();
        assert!(
            error.ends_with(
                ":2: the prompt is empty and the checkpoint has no bos token to start with"
            ),
            "{error}"
        );
    }

    #[test]
    fn pairs_share_their_prompt_and_end_once() {
        let content = "{\"prompt_ids\": [1], \"chosen_ids\": [2, 9], \"rejected_ids\": []}\n\
             {\"prompt_ids\": [1], \"chosen_ids\": [2], \"rejected_ids\": [2, 9]}\n\
             {\"prompt_ids\": [1, 2, 3], \"chosen_ids\": [4, 5, 6, 7], \"rejected_ids\": [5]}\n";
        let (pairs, notes) = with(content, BOTH, 4, |reader, rows| reader.pairs(rows));
        let pairs = pairs.unwrap();
        assert_eq!((pairs.len(), pairs.sequences().prompts().len()), (2, 2));
        let ids = |i: usize| pairs.sequences().responses()[i].ids.as_slice();
        assert_eq!((ids(0), ids(1)), ([2, 9].as_slice(), [9].as_slice()));
        assert_eq!((ids(2), ids(3)), ([4, 5, 6].as_slice(), [5, 9].as_slice()));
        let finish = |i: usize| pairs.sequences().responses()[i].finish;
        assert_eq!((finish(1), finish(2)), (Finish::Eos, Finish::Length));
        assert_eq!(pairs.sequences().prompt_of(2).ids, [2, 3]);
        assert_eq!(
            (
                notes.identical_pairs,
                notes.cut_prompts,
                notes.cut_completions
            ),
            (1, 1, 1)
        );
    }

    #[test]
    fn labels_are_true_or_false() {
        let row = |label| format!("{{\"prompt_ids\": [1], \"completion_ids\": [2], {label}}}\n");
        let content = row("\"label\": true") + &row("\"label\": 0") + &row("\"label\": \"True\"");
        let (read, _) = with(&content, BOTH, 9, |reader, rows| reader.unpaired(rows));
        let (sequences, labels) = read.unwrap();
        assert_eq!((sequences.len(), labels), (3, vec![true, false, true]));
        for (label, expected) in [
            (
                "\"label\": 2",
                "x.jsonl:1: field `label` must be true or false",
            ),
            ("\"label\": null", "x.jsonl:1: no field `label`"),
            ("\"good\": true", "x.jsonl:1: no field `label`"),
        ] {
            let (read, _) = with(&row(label), BOTH, 9, |reader, rows| reader.unpaired(rows));
            let error = read.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    /// Every token of a document is predicted exactly once.
    #[test]
    fn documents_are_cut_into_pieces() {
        let content =
            "{\"text_ids\": [1, 2, 3, 4, 5]}\n{\"prompt_ids\": [7], \"completion_ids\": [6]}\n";
        for (special, expected) in [
            (
                BOTH,
                vec![(8, vec![1, 2, 3]), (3, vec![4, 5, 9]), (7, vec![6, 9])],
            ),
            (NONE, vec![(1, vec![2, 3, 4]), (4, vec![5]), (7, vec![6])]),
        ] {
            let (read, _) = with(content, special, 3, |reader, rows| {
                reader.demonstrations(rows)
            });
            let read = read.unwrap();
            let responses = read.responses().iter();
            let found: Vec<_> = responses
                .map(|response| (read.prompts()[response.prompt].ids[0], response.ids.clone()))
                .collect();
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn errors_name_the_field() {
        for (content, expected) in [
            (
                r#"{"question": "x"}"#,
                "x.jsonl:1: no field `prompt` and no field `prompt_ids` in this row, which has `question`",
            ),
            (r#"{"prompt": 3}"#, "field `prompt` must be a string, not 3"),
            (
                r#"{"prompt_ids": [-1]}"#,
                "field `prompt_ids` must be an array of token ids",
            ),
            (
                r#"{"prompt_ids": [10]}"#,
                "token 10 in `prompt_ids` is not in the vocabulary: ids end at 9",
            ),
        ] {
            let (error, _) = with(content, NONE, 9, |reader, rows| reader.prompts(rows));
            let error = error.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
