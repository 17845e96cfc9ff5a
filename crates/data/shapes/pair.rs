//! Preference pairs, with a prompt of their own or one that both sides begin with.

use super::{Piece, Said, Writer, Written};
use crate::{Result, Row};

impl Writer {
    /// A prompt with its chosen and rejected completion. Where those are whole conversations, which
    /// hold the prompt, the prompt is what they share.
    pub(crate) fn pair(&self, row: &Row) -> Result<Written> {
        self.check_margin(row)?;
        let chosen = self.must(row, &self.fields.chosen)?;
        let rejected = self.must(row, &self.fields.rejected)?;
        if chosen.is_dialogue() && rejected.is_dialogue() {
            return self.implicit_pair(row);
        }
        self.join(row, self.prompt_of(row)?, vec![chosen, rejected])
    }

    /// Two dialogues that share all but their last answer (Bai et al. 2022, as their data are
    /// published).
    pub(crate) fn implicit_pair(&self, row: &Row) -> Result<Written> {
        self.check_margin(row)?;
        let (chosen, rejected) = (&self.fields.chosen, &self.fields.rejected);
        match (self.must(row, chosen)?, self.must(row, rejected)?) {
            (Said::Text(a), Said::Text(b)) => {
                let (prompt, chosen) = self.parted(row, chosen, &a)?;
                let (other, rejected) = self.parted(row, rejected, &b)?;
                Ok(Written {
                    prompt: Some(Piece::Text(prompt.into())),
                    answers: [chosen, rejected].map(|text| Piece::Text(text.into())).into(),
                    turns: a.matches(&self.fields.turn).count(),
                    apart: prompt != other,
                    ..Written::default()
                })
            }
            (Said::Chat(mut a), Said::Chat(mut b)) => {
                let answers = [(&mut a, chosen), (&mut b, rejected)].map(|(messages, name)| {
                    match messages.pop() {
                        Some(last) if !messages.is_empty() && last["role"] == "assistant" => {
                            Ok(Said::Chat(vec![last]))
                        }
                        _ => Err(row.error(format!(
                            "no field `{}`, and the conversation in `{name}` does not end with an \
                             answer of the role \"assistant\" to something",
                            self.fields.prompt
                        ))),
                    }
                });
                let [chosen, rejected] = answers;
                let apart = a != b;
                let written = self.join(row, Said::Chat(a), vec![chosen?, rejected?])?;
                Ok(Written { apart, ..written })
            }
            _ => Err(row.error(format!(
                "without a field `{}`, `{chosen}` and `{rejected}` must both be whole dialogues, as \
                 strings or as conversations",
                self.fields.prompt
            ))),
        }
    }

    /// A dialogue at the start of its last answer.
    fn parted<'a>(&self, row: &Row, name: &str, text: &'a str) -> Result<(&'a str, &'a str)> {
        let turn = &self.fields.turn;
        let start = match turn.is_empty() {
            true => None,
            false => text.rfind(turn),
        };
        match start {
            Some(start) => Ok(text.split_at(start + turn.len())),
            None => Err(row.error(format!(
                "no field `{}`, and no {turn:?} in `{name}` where the prompt could end: name the \
                 prompt (data.fields.prompt) or what starts an answer (data.fields.turn)",
                self.fields.prompt
            ))),
        }
    }

    /// A row may say by how much the chosen response should win.
    fn check_margin(&self, row: &Row) -> Result<()> {
        match row.number("margin", "a number from 0")? {
            Some(margin) if margin < 0.0 => {
                Err(row.wrong("margin", "a number from 0", &row.fields["margin"]))
            }
            _ => Ok(()),
        }
    }
}
