//! Answers that can be checked: the last number after a marker.

use crate::{Error, Result};
use regex::Regex;
use rlhf_objective::{Error as Failure, PerSeq, Reward, Sequences};
use serde_json::Value;

/// 1 where the answer of a response is that of its row.
#[derive(Debug)]
pub(crate) struct Answer {
    marker: String,
    field: String,
    number: Regex,
}

impl Answer {
    /// Answers behind this marker, against this field of the row.
    ///
    /// # Errors
    /// If there is no marker or no field.
    pub(crate) fn new(marker: &str, field: &str) -> Result<Self> {
        if marker.is_empty() || field.is_empty() {
            let message = "reward answer: marker and field must not be empty";
            return Err(Error::Rule(message.into()));
        }
        Ok(Self {
            marker: marker.into(),
            field: field.into(),
            // Thousands may be set apart by commas.
            number: Regex::new(r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+")
                .map_err(|error| Error::Rule(error.to_string()))?,
        })
    }

    /// The last number after the last marker.
    fn of_response(&self, text: &str) -> Option<f64> {
        let start = text.rfind(&self.marker)? + self.marker.len();
        self.last_number(&text[start..])
    }

    /// What the row says: a number, or a text whose answer is behind a marker if it has one.
    pub(crate) fn of_row(&self, value: &Value) -> Option<f64> {
        match value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) if text.contains(&self.marker) => self.of_response(text),
            Value::String(text) => self.last_number(text),
            _ => None,
        }
    }

    fn last_number(&self, text: &str) -> Option<f64> {
        let found = self.number.find_iter(text).last()?;
        let number: f64 = found.as_str().replace(',', "").parse().ok()?;
        let mut before = text[..found.start()].chars().rev();
        // A minus sign, with or without a currency sign behind it; 3-4 has none.
        let mut sign = before.next();
        if sign.is_some_and(|c| matches!(c, '$' | '€' | '£')) {
            sign = before.next();
        }
        let negative =
            matches!(sign, Some('-' | '−')) && !before.next().is_some_and(char::is_alphanumeric);
        Some(if negative { -number } else { number })
    }
}

impl Reward for Answer {
    fn score(&mut self, sequences: &Sequences) -> rlhf_objective::Result<PerSeq> {
        let responses = sequences.responses().iter().enumerate();
        let score = |(index, response): (usize, &std::sync::Arc<rlhf_objective::Response>)| {
            let row = &sequences.prompt_of(index).fields;
            let value = row.get(&self.field);
            let right = value.and_then(|value| self.of_row(value)).ok_or_else(|| {
                let says = value.map_or_else(|| "nothing".into(), shown);
                Failure::Unsupported(format!(
                    "reward answer: the row's field `{}` must hold a number, and holds {says}",
                    self.field
                ))
            })?;
            let given = self.of_response(&response.text);
            Ok(f32::from(u8::from(given == Some(right))))
        };
        PerSeq::from_vec(
            responses
                .map(score)
                .collect::<rlhf_objective::Result<_>>()?,
        )
    }
}

/// A value of a row, where it is not long.
pub(crate) fn shown(value: &Value) -> String {
    format!("{value:.60}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use rlhf_objective::{Finish, Prompt, Response};
    use serde_json::json;

    fn score(
        marker: &str,
        field: &str,
        rows: &[(Value, &str)],
    ) -> rlhf_objective::Result<Vec<f32>> {
        let prompts = rows.iter().map(|(row, _)| Prompt {
            fields: row.as_object().unwrap().clone(),
            ..Prompt::from_ids(vec![1])
        });
        let responses = rows.iter().enumerate().map(|(prompt, (_, text))| Response {
            text: (*text).into(),
            ..Response::new(prompt, vec![1], Finish::Eos)
        });
        let sequences = Sequences::new(prompts.collect(), responses.collect()).unwrap();
        Answer::new(marker, field)
            .unwrap()
            .score(&sequences)?
            .to_vec()
    }

    #[test]
    fn the_last_number_after_the_last_marker() {
        for (answer, text, right) in [
            (json!("so it is\n#### 1,234"), "#### 1234", 1.0),
            (json!(0.5), "first #### 7, then #### it is .50.", 1.0),
            (json!("-3"), "#### $5 - 8 = -$3", 1.0),
            (json!("3"), "#### 5-3", 1.0),
            (json!(18), "18", 0.0),
            (json!(18), "#### none", 0.0),
            (json!(18), "#### 18 or 19", 0.0),
            (json!(18), "", 0.0),
            (json!(4), "#### 3,4", 1.0),
        ] {
            let rows = [(json!({"answer": answer}), text)];
            assert_eq!(score("####", "answer", &rows).unwrap(), [right], "{text}");
        }
    }

    #[test]
    fn a_row_without_a_number_is_an_error() {
        for (row, expected) in [
            (json!({"answer": "four"}), "holds \"four\""),
            (json!({"answer": null}), "holds null"),
            (json!({}), "holds nothing"),
        ] {
            let error = score("####", "answer", &[(row, "#### 4")]).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
        assert!(Answer::new("", "answer").is_err());
    }

    /// Every label of the labelled solutions.
    #[test]
    #[ignore = "needs RLHF_TEST_DATA: gsm8k"]
    #[expect(clippy::disallowed_methods, reason = "a test finds its data")]
    fn school_problems_are_judged_as_they_were() {
        let folder = std::env::var_os("RLHF_TEST_DATA")
            .expect("RLHF_TEST_DATA is not set: set it to the folder of the test data");
        let file = std::path::Path::new(&folder).join("gsm8k/example_model_solutions.jsonl");
        let text = std::fs::read_to_string(file).unwrap();
        let (mut checked, mut right) = (0, 0.0);
        for line in text.lines() {
            let row: Value = serde_json::from_str(line).unwrap();
            let judged = row
                .as_object()
                .unwrap()
                .values()
                .filter(|value| value.is_object());
            for solution in judged {
                let answer = solution["solution"].as_str().unwrap();
                let scores = score("A:", "ground_truth", &[(row.clone(), answer)]).unwrap();
                let label = solution["is_correct"].as_bool().unwrap();
                assert_eq!(scores, [f32::from(u8::from(label))], "{answer}");
                right += scores[0];
                checked += 1;
            }
        }
        assert_eq!((checked, right), (5276, 2001.0));
    }
}
