//! Parses preference pairs, with a prompt field or with a prompt that both sides begin with.

use super::{FieldValue, ParsedRow, RowParser, Segment};
use crate::{Result, Row};

impl RowParser {
    /// A prompt with its chosen and rejected completion. If those are whole conversations, the
    /// prompt is their common prefix.
    pub(crate) fn pair(&self, row: &Row) -> Result<ParsedRow> {
        self.check_margin(row)?;
        let chosen = self.required(row, &self.fields.chosen)?;
        let rejected = self.required(row, &self.fields.rejected)?;
        if chosen.is_dialogue() && rejected.is_dialogue() {
            return self.implicit_pair(row);
        }
        self.join(row, self.prompt_of(row)?, vec![chosen, rejected])
    }

    /// Two dialogues that share everything but their last answer (the published data of Bai et al.
    /// 2022).
    pub(crate) fn implicit_pair(&self, row: &Row) -> Result<ParsedRow> {
        self.check_margin(row)?;
        let (chosen, rejected) = (&self.fields.chosen, &self.fields.rejected);
        match (self.required(row, chosen)?, self.required(row, rejected)?) {
            (FieldValue::Text(a), FieldValue::Text(b)) => {
                let (prompt, chosen) = self.split_at_last_answer(row, chosen, &a)?;
                let (other, rejected) = self.split_at_last_answer(row, rejected, &b)?;
                Ok(ParsedRow {
                    prompt: Some(Segment::Text(prompt.into())),
                    answers: [chosen, rejected].map(|text| Segment::Text(text.into())).into(),
                    turns: a.matches(&self.fields.turn).count(),
                    prompts_differ: prompt != other,
                    ..ParsedRow::default()
                })
            }
            (FieldValue::Chat(mut a), FieldValue::Chat(mut b)) => {
                let answers = [(&mut a, chosen), (&mut b, rejected)].map(|(messages, name)| {
                    match messages.pop() {
                        Some(last) if !messages.is_empty() && last["role"] == "assistant" => {
                            Ok(FieldValue::Chat(vec![last]))
                        }
                        _ => Err(row.error(format!(
                            "no field `{}`, and the conversation in `{name}` does not end with an \
                             answer of the role \"assistant\" to an earlier message",
                            self.fields.prompt
                        ))),
                    }
                });
                let [chosen, rejected] = answers;
                let prompts_differ = a != b;
                let parsed = self.join(row, FieldValue::Chat(a), vec![chosen?, rejected?])?;
                Ok(ParsedRow { prompts_differ, ..parsed })
            }
            _ => Err(row.error(format!(
                "without a field `{}`, `{chosen}` and `{rejected}` must both be whole dialogues, as \
                 strings or as conversations",
                self.fields.prompt
            ))),
        }
    }

    /// Splits a dialogue before its last answer.
    fn split_at_last_answer<'a>(
        &self,
        row: &Row,
        name: &str,
        text: &'a str,
    ) -> Result<(&'a str, &'a str)> {
        let turn = &self.fields.turn;
        let start = if turn.is_empty() {
            None
        } else {
            text.rfind(turn)
        };
        match start {
            Some(start) => Ok(text.split_at(start + turn.len())),
            None => Err(row.error(format!(
                "no field `{}`, and no {turn:?} in `{name}` where the prompt could end: name the \
                 prompt (data.fields.prompt) or the text that starts an answer (data.fields.turn)",
                self.fields.prompt
            ))),
        }
    }

    /// Checks the optional margin by which the chosen response should win.
    fn check_margin(&self, row: &Row) -> Result<()> {
        match row.number("margin", "a number from 0")? {
            Some(margin) if margin < 0.0 => {
                Err(row.wrong_type("margin", "a number from 0", &row.fields["margin"]))
            }
            _ => Ok(()),
        }
    }
}
